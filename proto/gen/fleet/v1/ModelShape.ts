// Original file: fleet/v1/fleet.proto


export interface ModelShape {
  'hidden'?: (number);
  'vocabulary'?: (number);
  'intermediate'?: (number);
  'expertIntermediate'?: (number);
  'expertsPerToken'?: (number);
  'fullLayers'?: (number);
  'windowLayers'?: (number);
  'windowTokens'?: (number);
  'kvHeads'?: (number);
  'headDim'?: (number);
  'latentDim'?: (number);
  'dtypeBytes'?: (number);
  'maxPositions'?: (number);
  '_maxPositions'?: "maxPositions";
}

export interface ModelShape__Output {
  'hidden': (number);
  'vocabulary': (number);
  'intermediate': (number);
  'expertIntermediate': (number);
  'expertsPerToken': (number);
  'fullLayers': (number);
  'windowLayers': (number);
  'windowTokens': (number);
  'kvHeads': (number);
  'headDim': (number);
  'latentDim': (number);
  'dtypeBytes': (number);
  'maxPositions'?: (number);
  '_maxPositions'?: "maxPositions";
}
