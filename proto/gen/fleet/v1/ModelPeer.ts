// Original file: fleet/v1/fleet.proto


export interface ModelPeer {
  'node'?: (string);
  'url'?: (string);
  'resolved'?: (string);
  'ticket'?: (string);
  'validMs'?: (number);
}

export interface ModelPeer__Output {
  'node': (string);
  'url': (string);
  'resolved': (string);
  'ticket': (string);
  'validMs': (number);
}
