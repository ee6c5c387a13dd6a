/**
 * Why a node does not take a replica, as data: the word of the filter, the figures behind it, and what would have to change.
 * explain_text.ts makes sentences of them.
 */
import type { GpuSharing, Taint } from './contract.ts';

export interface BadGpu {
  readonly gpu: number;
  readonly why: string;
  /** The declared quarantines that keep replicas off it; absent: it is not sound by itself. */
  readonly names?: readonly string[];
}

export type Reason =
  | { readonly by: 'node_unknown' }
  | { readonly by: 'health'; readonly health: string }
  | { readonly by: 'stale'; readonly silentMs: number; readonly staleAfterMs: number }
  | { readonly by: 'cordoned' }
  | { readonly by: 'draining' }
  /** The node as a whole, by these declared quarantines. */
  | { readonly by: 'quarantine'; readonly names: readonly string[]; readonly why: string }
  | { readonly by: 'taint'; readonly taint: Taint }
  | { readonly by: 'region'; readonly wanted: readonly string[]; readonly found: string }
  | { readonly by: 'architecture'; readonly wanted: readonly string[]; readonly found: string }
  | { readonly by: 'driver'; readonly wanted: string; readonly found: string | undefined }
  | {
      readonly by: 'constraint';
      readonly key: string;
      readonly operator: string;
      readonly values: readonly string[];
      readonly found: string | undefined;
    }
  | { readonly by: 'gang_topology'; readonly key: string }
  | { readonly by: 'gpu_model'; readonly wanted: readonly string[]; readonly found: readonly string[] }
  /** Too few GPUs of one model, however much memory is free on them. */
  | { readonly by: 'gpu_count'; readonly needGpus: number; readonly foundGpus: number }
  /** Enough GPUs, but too few that are sound. */
  | {
      readonly by: 'gpu_health';
      readonly needGpus: number;
      readonly soundGpus: number;
      readonly bad: readonly BadGpu[];
    }
  /** Enough sound GPUs, but others are on them that may not be shared with. */
  | {
      readonly by: 'gpu_sharing';
      readonly sharing: GpuSharing;
      readonly needGpus: number;
      readonly openGpus: number;
    }
  /** Enough GPUs may be used, but too few have the memory: `freeBytes` is free on the last one that it would need. */
  | {
      readonly by: 'gpu_memory';
      readonly needBytes: number;
      readonly freeBytes: number;
      readonly needGpus: number;
      readonly fittingGpus: number;
      /** Which of the two says so: what is measured, or what is promised. */
      readonly limit: 'measured' | 'promised';
      /** The memory of the largest GPU: above it nothing helps but a smaller need or more GPUs. */
      readonly largestGpuBytes: number;
    }
  | { readonly by: 'nvlink'; readonly needGpus: number; readonly largestIsland: number }
  | { readonly by: 'host_memory'; readonly needBytes: number; readonly freeBytes: number }
  | { readonly by: 'ports'; readonly taken: readonly number[] }
  | { readonly by: 'anti_affinity'; readonly deployment: string; readonly topologyKey: string; readonly domain: string }
  /** The node would do, but a gang needs more hosts beside it than there are. */
  | {
      readonly by: 'gang';
      readonly needHosts: number;
      readonly foundHosts: number;
      /** Where hosts are kept together by a label: which, and what this node has there. */
      readonly domain?: GangDomain;
    };

export interface GangDomain {
  readonly key: string;
  readonly value: string;
}

export type FilterName = Reason['by'];
