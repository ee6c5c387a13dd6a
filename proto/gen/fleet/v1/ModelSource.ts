// Original file: fleet/v1/fleet.proto


export interface ModelSource {
  'url'?: (string);
  'revision'?: (string);
  'sha256'?: ({[key: string]: string});
}

export interface ModelSource__Output {
  'url': (string);
  'revision': (string);
  'sha256': ({[key: string]: string});
}
