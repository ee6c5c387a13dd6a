// Original file: admin/v1/admin.proto


export interface OrderDefragmentationRequest {
  'verb'?: (string);
  'plan'?: (string);
  'maxMoves'?: (number);
  'reason'?: (string);
  '_maxMoves'?: "maxMoves";
}

export interface OrderDefragmentationRequest__Output {
  'verb': (string);
  'plan': (string);
  'maxMoves'?: (number);
  'reason': (string);
  '_maxMoves'?: "maxMoves";
}
