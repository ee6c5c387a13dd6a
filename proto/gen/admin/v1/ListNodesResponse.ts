// Original file: admin/v1/admin.proto

import type { Node as _admin_v1_Node, Node__Output as _admin_v1_Node__Output } from '../../admin/v1/Node.ts';

export interface ListNodesResponse {
  'nodes'?: (_admin_v1_Node)[];
}

export interface ListNodesResponse__Output {
  'nodes': (_admin_v1_Node__Output)[];
}
