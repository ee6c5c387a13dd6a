// Original file: admin/v1/admin.proto


export interface FieldChange {
  'path'?: (string);
  'before'?: (string);
  'after'?: (string);
  '_before'?: "before";
  '_after'?: "after";
}

export interface FieldChange__Output {
  'path': (string);
  'before'?: (string);
  'after'?: (string);
  '_before'?: "before";
  '_after'?: "after";
}
