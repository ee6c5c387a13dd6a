// Original file: fleet/v1/fleet.proto


export interface DirectListener {
  'url'?: (string);
  'life'?: (string);
  'keyIds'?: (string)[];
}

export interface DirectListener__Output {
  'url': (string);
  'life': (string);
  'keyIds': (string)[];
}
