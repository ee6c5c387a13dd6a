// Original file: admin/v1/admin.proto


export interface RoutingDecision {
  'mode'?: (string);
  'engines'?: (number);
  'refused'?: ({[key: string]: number});
  'candidates'?: (number);
}

export interface RoutingDecision__Output {
  'mode': (string);
  'engines': (number);
  'refused': ({[key: string]: number});
  'candidates': (number);
}
