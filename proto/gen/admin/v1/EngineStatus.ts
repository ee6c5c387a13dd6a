// Original file: admin/v1/admin.proto


export interface EngineStatus {
  'source'?: (string);
  'node'?: (string);
  'engine'?: (string);
  'gpus'?: (number)[];
  'deployment'?: (string);
  'replica'?: (number);
  'place'?: (string);
  'phase'?: (string);
  'phaseReason'?: (string);
  'state'?: (string);
  'reason'?: (string);
  '_deployment'?: "deployment";
  '_replica'?: "replica";
  '_place'?: "place";
  '_phase'?: "phase";
  '_phaseReason'?: "phaseReason";
}

export interface EngineStatus__Output {
  'source': (string);
  'node': (string);
  'engine': (string);
  'gpus': (number)[];
  'deployment'?: (string);
  'replica'?: (number);
  'place'?: (string);
  'phase'?: (string);
  'phaseReason'?: (string);
  'state': (string);
  'reason': (string);
  '_deployment'?: "deployment";
  '_replica'?: "replica";
  '_place'?: "place";
  '_phase'?: "phase";
  '_phaseReason'?: "phaseReason";
}
