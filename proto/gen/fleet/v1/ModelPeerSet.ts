// Original file: fleet/v1/fleet.proto

import type { ModelPeer as _fleet_v1_ModelPeer, ModelPeer__Output as _fleet_v1_ModelPeer__Output } from '../../fleet/v1/ModelPeer.ts';

export interface ModelPeerSet {
  'source'?: (string);
  'peers'?: (_fleet_v1_ModelPeer)[];
}

export interface ModelPeerSet__Output {
  'source': (string);
  'peers': (_fleet_v1_ModelPeer__Output)[];
}
