// Original file: admin/v1/admin.proto

import type { DeploymentStatus as _admin_v1_DeploymentStatus, DeploymentStatus__Output as _admin_v1_DeploymentStatus__Output } from '../../admin/v1/DeploymentStatus.ts';
import type { EngineStatus as _admin_v1_EngineStatus, EngineStatus__Output as _admin_v1_EngineStatus__Output } from '../../admin/v1/EngineStatus.ts';
import type { QuarantineStatus as _admin_v1_QuarantineStatus, QuarantineStatus__Output as _admin_v1_QuarantineStatus__Output } from '../../admin/v1/QuarantineStatus.ts';
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
  'engine'?: (_admin_v1_EngineStatus | null);
  'quarantine'?: (_admin_v1_QuarantineStatus | null);
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
  'engine': (_admin_v1_EngineStatus__Output | null);
  'quarantine': (_admin_v1_QuarantineStatus__Output | null);
}
