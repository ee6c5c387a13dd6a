// Original file: admin/v1/admin.proto

import type { Key as _admin_v1_Key, Key__Output as _admin_v1_Key__Output } from '../../admin/v1/Key.ts';

export interface CreateKeyResponse {
  'key'?: (_admin_v1_Key | null);
  'secret'?: (string);
}

export interface CreateKeyResponse__Output {
  'key': (_admin_v1_Key__Output | null);
  'secret': (string);
}
