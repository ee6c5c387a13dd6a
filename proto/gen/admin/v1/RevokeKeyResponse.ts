// Original file: admin/v1/admin.proto

import type { Key as _admin_v1_Key, Key__Output as _admin_v1_Key__Output } from '../../admin/v1/Key.ts';

export interface RevokeKeyResponse {
  'key'?: (_admin_v1_Key | null);
}

export interface RevokeKeyResponse__Output {
  'key': (_admin_v1_Key__Output | null);
}
