/** The registry of filters, in the order in which they are asked. To add one: a file in filters/, and its place here. */
import { antiAffinity } from './filters/anti_affinity.ts';
import { architecture } from './filters/architecture.ts';
import { constraint } from './filters/constraint.ts';
import { cordoned } from './filters/cordoned.ts';
import { draining } from './filters/draining.ts';
import { driver } from './filters/driver.ts';
import type { NodeFilter, RoomFilter } from './filters/filter.ts';
import { gangTopology } from './filters/gang_topology.ts';
import { gpuCount } from './filters/gpu_count.ts';
import { gpuHealth } from './filters/gpu_health.ts';
import { gpuMemory } from './filters/gpu_memory.ts';
import { gpuModel } from './filters/gpu_model.ts';
import { gpuSharing } from './filters/gpu_sharing.ts';
import { health } from './filters/health.ts';
import { hostMemory } from './filters/host_memory.ts';
import { nvlink } from './filters/nvlink.ts';
import { ports } from './filters/ports.ts';
import { quarantine } from './filters/quarantine.ts';
import { region } from './filters/region.ts';
import { stale } from './filters/stale.ts';
import { taint } from './filters/taint.ts';

export const NODE_FILTERS: readonly NodeFilter[] = [
  health,
  stale,
  cordoned,
  draining,
  quarantine,
  taint,
  region,
  architecture,
  driver,
  constraint,
  gangTopology,
  gpuModel,
];

/** Of those from gpu_count to nvlink each presumes the ones before it, so that only the first that refuses is worth telling. */
export const GPU_FILTERS: readonly RoomFilter[] = [gpuCount, gpuHealth, gpuSharing, gpuMemory, nvlink];
export const ROOM_FILTERS: readonly RoomFilter[] = [hostMemory, ports, antiAffinity];
