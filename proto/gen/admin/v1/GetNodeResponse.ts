// Original file: admin/v1/admin.proto

import type { Node as _admin_v1_Node, Node__Output as _admin_v1_Node__Output } from '../../admin/v1/Node.ts';
import type { Engine as _admin_v1_Engine, Engine__Output as _admin_v1_Engine__Output } from '../../admin/v1/Engine.ts';

export interface GetNodeResponse {
  'node'?: (_admin_v1_Node | null);
  'engines'?: (_admin_v1_Engine)[];
}

export interface GetNodeResponse__Output {
  'node': (_admin_v1_Node__Output | null);
  'engines': (_admin_v1_Engine__Output)[];
}
