// Original file: admin/v1/admin.proto

import type { ReplicaGpus as _admin_v1_ReplicaGpus, ReplicaGpus__Output as _admin_v1_ReplicaGpus__Output } from '../../admin/v1/ReplicaGpus.ts';

export interface Replica {
  'index'?: (number);
  'revision'?: (string);
  'engines'?: (string)[];
  'gpus'?: (_admin_v1_ReplicaGpus)[];
  'state'?: (string);
  'reason'?: (string);
}

export interface Replica__Output {
  'index': (number);
  'revision': (string);
  'engines': (string)[];
  'gpus': (_admin_v1_ReplicaGpus__Output)[];
  'state': (string);
  'reason': (string);
}
