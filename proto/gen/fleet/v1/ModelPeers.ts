// Original file: fleet/v1/fleet.proto

import type { ModelPeerSet as _fleet_v1_ModelPeerSet, ModelPeerSet__Output as _fleet_v1_ModelPeerSet__Output } from '../../fleet/v1/ModelPeerSet.ts';

export interface ModelPeers {
  'models'?: (_fleet_v1_ModelPeerSet)[];
}

export interface ModelPeers__Output {
  'models': (_fleet_v1_ModelPeerSet__Output)[];
}
