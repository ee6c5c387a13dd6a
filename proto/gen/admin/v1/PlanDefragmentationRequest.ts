// Original file: admin/v1/admin.proto


export interface PlanDefragmentationRequest {
  'maxMoves'?: (number);
  '_maxMoves'?: "maxMoves";
}

export interface PlanDefragmentationRequest__Output {
  'maxMoves'?: (number);
  '_maxMoves'?: "maxMoves";
}
