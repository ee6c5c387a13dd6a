// Original file: fleet/v1/fleet.proto


export interface ModelListener {
  'url'?: (string);
  'keyIds'?: (string)[];
}

export interface ModelListener__Output {
  'url': (string);
  'keyIds': (string)[];
}
