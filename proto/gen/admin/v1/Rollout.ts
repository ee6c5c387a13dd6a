// Original file: admin/v1/admin.proto


export interface Rollout {
  'name'?: (string);
  'phase'?: (string);
  'paused'?: (boolean);
  'revision'?: (string);
  'lines'?: (string)[];
  'history'?: (string)[];
}

export interface Rollout__Output {
  'name': (string);
  'phase': (string);
  'paused': (boolean);
  'revision': (string);
  'lines': (string)[];
  'history': (string)[];
}
