/**
 * What placement is given and what it answers. A snapshot is immutable: it says what the fleet is, what runs on it and what
 * is wanted; a plan says what should change, with the reasons as data. Bytes are whole numbers everywhere, and the names are
 * those that users of Kubernetes and Nomad know. Types only.
 */
import type { Objective } from './objective.ts';
import type { Reason } from './reasons.ts';

export interface Taint {
  readonly key: string;
  readonly value?: string;
  /** As in Kubernetes: NoSchedule keeps new replicas away, NoExecute also ends running ones, PreferNoSchedule only costs. */
  readonly effect: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
}

export interface Toleration {
  /** Absent with the operator Exists: every taint is tolerated. */
  readonly key?: string;
  /** Absent: Equal. */
  readonly operator?: 'Exists' | 'Equal';
  readonly value?: string;
  /** Absent: every effect of the key. */
  readonly effect?: Taint['effect'];
}

/** One expression over a label or an attribute of a node (requirements.ts names the attributes). */
export interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt';
  /** Not for Exists and DoesNotExist; one number for Gt and Lt. */
  readonly values?: readonly string[];
}

export interface Preference {
  readonly requirement: Requirement;
  /** -100 to 100: how much a node that meets it is wanted, or shunned. */
  readonly weight: number;
}

/** Replicas that shall not, or had better not, share a host, a region or whatever a label names. */
export interface AffinityTerm {
  /** Whose replicas; absent: the deployment's own. */
  readonly deployment?: string;
  /** `kubernetes.io/hostname`, `topology.kubernetes.io/region`, or any label. Nodes without it are no domain. */
  readonly topologyKey: string;
  /** Required terms refuse; preferred ones cost or earn by their weight, 1 to 100 (absent: 100). */
  readonly required?: boolean;
  readonly weight?: number;
}

export interface GpuSnapshot {
  readonly index: number;
  readonly model: string;
  readonly totalBytes: number;
  /** Free by the newest reading; absent: not known, and only promises count. */
  readonly freeBytes?: number;
  /** Promised to what is not among the placements, such as engines of an agent's own configuration. */
  readonly promisedBytes?: number;
  readonly health: 'ok' | 'degraded' | 'failed';
  /** Why it is in quarantine; absent: it is not. */
  readonly quarantine?: string;
  /** Names of the declared quarantines that it is in. */
  readonly quarantinedBy?: readonly string[];
  readonly numaNode?: number;
  /** GPUs of one number reach each other over NVLink; absent: over PCIe only. */
  readonly nvlinkIsland?: number;
  /** A GH200's GPU: it reads the memory of its Grace CPU over NVLink-C2C. */
  readonly coherent?: boolean;
  /** Most engines that may share it; absent: 16. */
  readonly maxEngines?: number;
}

/** By the names of the declared quarantines, and why. */
export interface NodeQuarantine {
  readonly names: readonly string[];
  readonly why: string;
}

export type NodeHealth = 'ready' | 'degraded' | 'not_ready' | 'lost';

export interface NodeSnapshot {
  readonly name: string;
  readonly region: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** As Kubernetes spells it: amd64, arm64. */
  readonly architecture: string;
  /** Such as 570.124.06; absent: no GPU driver. */
  readonly driverVersion?: string;
  readonly cordoned?: boolean;
  /** It is being emptied: its replicas move, then it is left alone. */
  readonly draining?: boolean;
  /** It is in quarantine as a whole: nothing new comes, and what runs there moves. */
  readonly quarantine?: NodeQuarantine;
  readonly taints?: readonly Taint[];
  readonly health: NodeHealth;
  /** On the clock of the snapshot's `nowMs`. */
  readonly lastSeenMs: number;
  readonly gpus: readonly GpuSnapshot[];
  /** Memory of the host, on a GH200 that of Grace. Absent: not known, and not limited. */
  readonly hostMemory?: { readonly totalBytes: number; readonly freeBytes?: number; readonly promisedBytes?: number };
  /** Models whose files lie on its disk, and those of which compiled kernels are kept. */
  readonly modelsOnDisk?: readonly string[];
  readonly warmCaches?: readonly string[];
  /** Ports that something else listens on. */
  readonly portsInUse?: readonly number[];
}

/** Who may share a GPU with a replica: nobody, replicas of its tenant, anybody. */
export type GpuSharing = 'exclusive' | 'tenant' | 'shared';

export interface WantedDeployment {
  readonly name: string;
  /** Goes up with each change; a plan made for another version is refused when it is verified. */
  readonly version?: number;
  readonly model: string;
  readonly replicas: number;
  /** Hosts that one replica spans, all or nothing; absent: 1. They are of one region and one GPU model. */
  readonly hosts?: number;
  /** The hosts of a replica also share the value of this label, such as a rack. */
  readonly gangTopologyKey?: string;
  /** On each host; 0: no GPU at all. The GPUs of a replica are of one model. */
  readonly gpusPerHost: number;
  /** On each of these GPUs: weights, KV cache and the rest. */
  readonly gpuMemoryBytes: number;
  /** How much of that may lie in Grace memory where the GPU is coherent; absent: nothing. */
  readonly graceSpillBytes?: number;
  readonly hostMemoryBytes?: number;
  /** Absent: exclusive. */
  readonly sharing?: GpuSharing;
  /** For more than one GPU a host. Absent: preferred. */
  readonly nvlink?: 'required' | 'preferred' | 'ignored';
  readonly regions?: readonly string[];
  readonly architectures?: readonly string[];
  readonly minDriverVersion?: string;
  readonly gpuModels?: readonly string[];
  readonly constraints?: readonly Requirement[];
  readonly preferences?: readonly Preference[];
  readonly tolerations?: readonly Toleration[];
  readonly antiAffinity?: readonly AffinityTerm[];
  /** Preferred only. */
  readonly affinity?: readonly AffinityTerm[];
  /** Ports that each replica needs on its hosts. */
  readonly ports?: readonly number[];
  /** 0 to 100; absent: 50. Only strictly lower ones are preempted. */
  readonly priority?: number;
  /** As in Kubernetes; Never: it waits instead. Absent: PreemptLowerPriority. */
  readonly preemptionPolicy?: 'PreemptLowerPriority' | 'Never';
  /** Whether full GPUs are preferred, or empty ones; absent: pack. */
  readonly strategy?: 'pack' | 'spread';
  readonly tenant?: string;
}

export interface ReplicaId {
  readonly deployment: string;
  readonly index: number;
}

/** What a replica has on one host. */
export interface PlacedPart {
  readonly node: string;
  /** Indexes of the node's GPUs. */
  readonly gpus: readonly number[];
  /** Promised on each of them, and what it has taken of that by the newest reading; absent: nothing yet. */
  readonly gpuMemoryBytes: number;
  readonly usedBytes?: number;
  /** Of the host's memory, what has spilled to Grace included. */
  readonly hostMemoryBytes?: number;
}

/** A replica that runs, starts, or was decided to. */
export interface Placement extends ReplicaId {
  readonly model: string;
  readonly priority: number;
  readonly tenant?: string;
  readonly sharing: GpuSharing;
  readonly ports?: readonly number[];
  readonly parts: readonly PlacedPart[];
}

export interface FleetSnapshot {
  /** Goes up with each change of what is in it. */
  readonly version: number;
  readonly nowMs: number;
  /** A node that said nothing for this long gets no new replica. */
  readonly staleAfterMs: number;
  readonly nodes: readonly NodeSnapshot[];
  /** All that is wanted: a placement of a deployment that is not among them is stopped. */
  readonly deployments: readonly WantedDeployment[];
  readonly placements: readonly Placement[];
}

export interface AssignedPart {
  readonly node: string;
  readonly gpus: readonly number[];
  /** On each GPU: what lies in its own memory, and what in Grace memory. */
  readonly gpuMemoryBytes: number;
  readonly graceSpillBytes: number;
  /** Share of each GPU's memory, for the engine's flag (vLLM: --gpu-memory-utilization); the smallest GPU's. */
  readonly gpuMemoryShare: number;
  /** With the spilled part. */
  readonly hostMemoryBytes: number;
}

export type AssignmentCause =
  | { readonly kind: 'new' }
  /** It runs where it cannot stay: start this one, then stop the old one. */
  | { readonly kind: 'moved'; readonly from: readonly string[]; readonly reasons: readonly Reason[] }
  /** It is preempted there and starts again here. */
  | { readonly kind: 'preempted'; readonly from: readonly string[] };

export interface ScorePart {
  readonly name: string;
  readonly value: number;
  readonly weight: number;
}

export interface Assignment extends ReplicaId {
  readonly deploymentVersion: number;
  readonly priority: number;
  readonly parts: readonly AssignedPart[];
  readonly cause: AssignmentCause;
  /** Replicas that must have stopped before it can start. */
  readonly waitsFor: readonly ReplicaId[];
  readonly score: readonly ScorePart[];
}

export interface Preemption extends ReplicaId {
  readonly priority: number;
  readonly from: readonly string[];
  /** Whoever takes its place; strictly higher in priority. */
  readonly by: ReplicaId;
  readonly byPriority: number;
}

/** A replica that is not wanted any more: too many of them, or no such deployment. */
export interface Stop extends ReplicaId {
  readonly from: readonly string[];
  readonly because: 'scaled_down' | 'not_wanted';
}

export interface PlacementPlan {
  /** The snapshot's version that it was made from. */
  readonly basedOn: number;
  readonly assignments: readonly Assignment[];
  readonly preemptions: readonly Preemption[];
  readonly stops: readonly Stop[];
  /** Wanted, and no place for it: it waits. `explainDeployment` says why. */
  readonly pending: readonly ReplicaId[];
  /** Replicas that stay where they are. */
  readonly kept: number;
  readonly objective: Objective;
}
