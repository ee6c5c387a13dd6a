// Original file: admin/v1/admin.proto


export interface Candidate {
  'engine'?: (string);
  'picked'?: (boolean);
  'refusedBy'?: (string);
  'detail'?: (string);
  'cost'?: (number | string);
  '_cost'?: "cost";
}

export interface Candidate__Output {
  'engine': (string);
  'picked': (boolean);
  'refusedBy': (string);
  'detail': (string);
  'cost'?: (number);
  '_cost'?: "cost";
}
