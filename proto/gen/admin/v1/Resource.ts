// Original file: admin/v1/admin.proto

import type { DeploymentStatus as _admin_v1_DeploymentStatus, DeploymentStatus__Output as _admin_v1_DeploymentStatus__Output } from '../../admin/v1/DeploymentStatus.ts';
import type { Long } from '@grpc/proto-loader';

export interface Resource {
  'kind'?: (string);
  'name'?: (string);
  'version'?: (number | string | Long);
  'labels'?: ({[key: string]: string});
  'specJson'?: (string);
  'updatedAtMs'?: (number | string | Long);
  'updatedBy'?: (string);
  'status'?: (_admin_v1_DeploymentStatus | null);
}

export interface Resource__Output {
  'kind': (string);
  'name': (string);
  'version': (number);
  'labels': ({[key: string]: string});
  'specJson': (string);
  'updatedAtMs': (number);
  'updatedBy': (string);
  'status': (_admin_v1_DeploymentStatus__Output | null);
}
