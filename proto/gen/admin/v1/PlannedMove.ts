// Original file: admin/v1/admin.proto

import type { ReplicaGpus as _admin_v1_ReplicaGpus, ReplicaGpus__Output as _admin_v1_ReplicaGpus__Output } from '../../admin/v1/ReplicaGpus.ts';
import type { Long } from '@grpc/proto-loader';

export interface PlannedMove {
  'deployment'?: (string);
  'revision'?: (string);
  'index'?: (number);
  'from'?: (_admin_v1_ReplicaGpus)[];
  'to'?: (_admin_v1_ReplicaGpus)[];
  'gpuMemoryBytes'?: (number | string | Long);
  'modelOnDisk'?: (boolean);
}

export interface PlannedMove__Output {
  'deployment': (string);
  'revision': (string);
  'index': (number);
  'from': (_admin_v1_ReplicaGpus__Output)[];
  'to': (_admin_v1_ReplicaGpus__Output)[];
  'gpuMemoryBytes': (number);
  'modelOnDisk': (boolean);
}
