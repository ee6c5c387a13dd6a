// Original file: admin/v1/admin.proto


export interface ReplicaGpus {
  'node'?: (string);
  'gpus'?: (number)[];
}

export interface ReplicaGpus__Output {
  'node': (string);
  'gpus': (number)[];
}
