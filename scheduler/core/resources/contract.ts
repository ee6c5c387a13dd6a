/**
 * The resources that operators declare, and what the doors ask of whoever keeps and carries them out. A resource is kept as
 * an entry of the log's area `desired` ({ spec, labels }); freeze and quarantine have areas of their own. Types only; the
 * zod schemas beside the doors turn text into these. Sizes are bytes, times milliseconds.
 */
import type { JsonObject } from '../events/json.ts';
import type {
  AffinityTerm,
  AssignedPart,
  GpuSharing,
  Preference,
  Requirement,
  Taint,
  Toleration,
} from '../placement/contract.ts';

export const RESOURCE_KINDS = ['Node', 'Engine', 'Deployment', 'Pool', 'Alias', 'Quarantine'] as const;
export type ResourceKind = (typeof RESOURCE_KINDS)[number];

/** As it stands in YAML: apiVersion, kind, metadata, spec. */
export interface Resource<Spec = JsonObject> {
  readonly apiVersion: 'sophia/v1';
  readonly kind: ResourceKind;
  readonly metadata: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    /** Absent in what is applied: the caller knows no version. */
    readonly version?: number;
  };
  readonly spec: Spec;
}

/** Where the files of a model come from; absent in a deployment: the engine loads `model` as it is written. */
export interface ModelSource {
  /** `file:///path`, `hf://org/name`, `s3://bucket/prefix`, `https://host/path`. */
  readonly url: string;
  /** A hub's branch, tag or commit. */
  readonly revision?: string;
  /** SHA-256 of each file by its name, 64 hex digits; those of a hub are taken from the hub where absent. */
  readonly sha256?: Readonly<Record<string, string>>;
}

export interface RolloutStrategy {
  readonly kind: 'rolling' | 'blue_green' | 'canary';
  /** Replicas above the wanted number while rolling; absent: 1. */
  readonly maxSurge?: number;
  /** Replicas below the wanted number while rolling; absent: 0. */
  readonly maxUnavailable?: number;
  /** Shares of traffic of a canary, in percent, rising; absent: 5, 25, 50. */
  readonly steps?: readonly number[];
  /** Shortest time of a step, and how long a rollout may take before it is rolled back. */
  readonly stepMs?: number;
  readonly deadlineMs?: number;
  /** Most of the requests of the new revision that may fail, 0 to 1; absent: 0.02. */
  readonly maxErrorRate?: number;
  /** How many times slower the new revision's TTFT may be; absent: 1.25. */
  readonly maxTtftRatio?: number;
  /** A prompt and what the answer must contain, asked of each new replica. */
  readonly smoke?: { readonly prompt: string; readonly contains: string };
}

export interface DeploymentSpec {
  readonly engine: 'vllm' | 'llama' | 'sim';
  /** A folder, a GGUF file or a hub id, as the engine takes it. */
  readonly model: string;
  readonly source?: ModelSource;
  /** What clients call it. */
  readonly servedModelName: string;
  readonly replicas: number;
  readonly hosts?: number;
  /** The hosts of a replica also share the value of this label, such as a rack; for `hosts` above 1 only. */
  readonly gangTopologyKey?: string;
  readonly gpusPerHost: number;
  /** On each GPU; absent: by estimate, or nine tenths of the smallest GPU that it may use, alone (reconcile/memory_need.ts). */
  readonly gpuMemoryBytes?: number;
  readonly graceSpillBytes?: number;
  readonly hostMemoryBytes?: number;
  readonly sharing?: GpuSharing;
  readonly nvlink?: 'required' | 'preferred' | 'ignored';
  readonly extraFlags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly maxConcurrentRequests?: number;
  readonly regions?: readonly string[];
  readonly architectures?: readonly string[];
  readonly minDriverVersion?: string;
  readonly gpuModels?: readonly string[];
  readonly constraints?: readonly Requirement[];
  readonly preferences?: readonly Preference[];
  readonly tolerations?: readonly Toleration[];
  readonly antiAffinity?: readonly AffinityTerm[];
  readonly affinity?: readonly AffinityTerm[];
  /** The pool whose nodes it may use; absent: all nodes. */
  readonly pool?: string;
  readonly priority?: number;
  readonly preemptionPolicy?: 'PreemptLowerPriority' | 'Never';
  readonly placement?: 'pack' | 'spread';
  readonly tenant?: string;
  readonly rollout?: RolloutStrategy;
  /** The one node that it may use: set for a declared engine, and by no file of a deployment. */
  readonly node?: string;
}

/** Members of a deployment that say how one engine is started and whom it yields to. */
export const ENGINE_MEMBERS = [
  'engine',
  'model',
  'source',
  'servedModelName',
  'gpusPerHost',
  'gpuMemoryBytes',
  'graceSpillBytes',
  'hostMemoryBytes',
  'sharing',
  'nvlink',
  'extraFlags',
  'environment',
  'maxConcurrentRequests',
  'minDriverVersion',
  'gpuModels',
  'tolerations',
  'priority',
  'preemptionPolicy',
  'tenant',
] as const satisfies readonly (keyof DeploymentSpec)[];

/** One engine that an operator pins to a node. */
export type EngineSpec = Pick<DeploymentSpec, (typeof ENGINE_MEMBERS)[number]> & { readonly node: string };

/** What an operator keeps everybody off. */
export interface QuarantineSpec {
  readonly node: string;
  /** Index or UUID of one GPU; absent: the whole node. */
  readonly gpu?: number | string;
  readonly reason: string;
  /** A moment as ISO 8601, or milliseconds from when it was first said; absent: until it is deleted. */
  readonly until?: string | number;
}

/** What operators say of a node; what it is comes from its agent. */
export interface NodeSpec {
  readonly region?: string;
  readonly taints?: readonly Taint[];
  readonly cordoned?: boolean;
  /** Its replicas move first, then it is left alone. */
  readonly draining?: boolean;
  /** It is gone for good: whatever ran there is placed elsewhere at once. */
  readonly retired?: boolean;
}

/** A named set of nodes. */
export interface PoolSpec {
  readonly nodes: readonly Requirement[];
}

/** A name for clients whose requests are divided among deployments by weight. */
export interface AliasSpec {
  readonly targets: readonly { readonly deployment: string; readonly weight: number }[];
}

export interface SpecOf {
  readonly Node: NodeSpec;
  readonly Deployment: DeploymentSpec;
  readonly Pool: PoolSpec;
  readonly Alias: AliasSpec;
  readonly Engine: EngineSpec;
  readonly Quarantine: QuarantineSpec;
}

/** One replica as an operator reads it. */
export interface ReplicaView {
  readonly index: number;
  readonly revision: string;
  /** Names of its engines, `node/engine`; empty: it has no place. */
  readonly engines: readonly string[];
  readonly gpus: readonly { readonly node: string; readonly gpus: readonly number[] }[];
  /** `pending`, `placed`, `starting`, `ready`, `draining`, `stopping`, `failed`. */
  readonly state: string;
  /** Why, in words; for `pending` the first line of its explanation. */
  readonly reason: string;
}

export interface DeploymentStatus {
  readonly observedVersion: number;
  readonly wanted: number;
  readonly ready: number;
  readonly replicas: readonly ReplicaView[];
  /** A running or the last rollout, in words; absent: there was none. */
  readonly rollout?: string;
  /** How much GPU memory a new replica is promised and by which rule, in words; absent: it needs no GPU. */
  readonly memory?: string;
}

/** An engine as it stands, out of what is declared and what its agent says. */
export interface EngineStatus {
  /** Who wants it: an Engine, a Deployment, the setting `nodes`; or nobody. */
  readonly source: 'declared' | 'deployment' | 'configuration' | 'unknown';
  readonly node: string;
  /** Its name on the node; empty: it has no place yet. */
  readonly engine: string;
  readonly gpus: readonly number[];
  /** Of a deployment: which, and which of its replicas. */
  readonly deployment?: string;
  readonly replica?: number;
  /** The entry of the log that holds its place, its phase there, and why; absent: it has none. */
  readonly place?: string;
  readonly phase?: string;
  readonly phaseReason?: string;
  /** As its agent calls it; `pending`: no place, `absent`: not begun, `unknown`: its agent is not connected. */
  readonly state: string;
  readonly reason: string;
}

export interface EngineReport extends EngineStatus {
  /** `vllm`, `llama`, `sim`; empty: nobody has said. */
  readonly kind: string;
  readonly model: string;
  readonly servedModelName: string;
  /** When it came into its state by its agent's clock, 0: not known. */
  readonly sinceMs: number;
}

/** A quarantine as it stands. */
export interface QuarantineStatus {
  /** Who set it: an operator by a resource, or the agent of the node by what it saw. */
  readonly source: 'declared' | 'agent';
  readonly node: string;
  readonly gpu?: number;
  readonly uuid?: string;
  /** When it ends by itself, by the store's clock; absent: it does not. */
  readonly untilMs?: number;
  /** Replicas that are still there, `deployment/index`. */
  readonly replicas: readonly string[];
  /** What is odd about it, or what lifts it; empty: nothing. */
  readonly note: string;
}

export interface QuarantineReport extends QuarantineStatus {
  /** Of the resource; of an agent's own `node/gpu`. */
  readonly name: string;
  readonly reason: string;
  /** By its agent's clock, 0: not known or declared. */
  readonly sinceMs: number;
}

/** A deployment's rollout for whoever looks; docs/ROLLOUTS.md says what its words mean. */
export interface RolloutReport {
  readonly name: string;
  /** Of the rollout under way, or how the last one ended; empty: there was none. */
  readonly phase: string;
  readonly paused: boolean;
  /** That is rolled to, or else the one that serves; empty: nothing is known yet. */
  readonly revision: string;
  /** How it stands, a line each. */
  readonly lines: readonly string[];
  /** Earlier ones, newest first, a line each. */
  readonly history: readonly string[];
}

/** What would be done, in words: a line each. */
export interface PlanView {
  readonly lines: readonly string[];
  readonly assignments: number;
  readonly preemptions: number;
  readonly stops: number;
  readonly pending: number;
}

/** A replica that would be started elsewhere and then stopped where it is. */
export interface PlannedMove {
  readonly deployment: string;
  readonly revision: string;
  readonly index: number;
  readonly from: readonly { readonly node: string; readonly gpus: readonly number[] }[];
  /** With what it would be promised there. */
  readonly to: readonly AssignedPart[];
  /** Promised on each of its GPUs, twice until the old engine has stopped. */
  readonly gpuMemoryBytes: number;
  /** The files of the model lie on the new node. */
  readonly modelOnDisk: boolean;
}

/** What is free in one piece: sound GPUs with nobody on them, nodes of which all are so, replicas that find no place. */
export interface Wholeness {
  readonly emptyGpus: number;
  readonly emptyNodes: number;
  readonly pending: number;
}

/** Moves that would make whole GPUs of scattered memory, what they gain and what they cost. */
export interface DefragmentView {
  /** In words: a line each. */
  readonly lines: readonly string[];
  /** Names these moves of these replicas as they run now, for whoever orders them; empty: there are none. */
  readonly plan: string;
  /** Each fits after the ones before it, while the old engine still runs. */
  readonly moves: readonly PlannedMove[];
  readonly before: Wholeness;
  readonly after: Wholeness;
  readonly cost: {
    /** Engines that are started anew, each with its load of weights and cold caches. */
    readonly starts: number;
    /** Models that a node must fetch first. */
    readonly fetches: number;
    /** Most GPU memory that is promised twice at a time, when one replica moves after the other. */
    readonly gpuMemoryTwiceBytes: number;
  };
}

/** What the doors ask of reconcile; all of it is answered from memory. What asks the planner takes its time. */
export interface ReconcileView {
  /** Whether this scheduler leads, and who does. */
  leader(): { readonly isLeader: boolean; readonly holder: string | undefined; readonly epoch: number };
  deploymentStatus(name: string): DeploymentStatus | undefined;
  /** What reconcile would do if these resources were applied and those names deleted now. @throws CodedError planner_busy */
  plan(applied: readonly Resource[], deleted: readonly { kind: ResourceKind; name: string }[]): Promise<PlanView>;
  /** For every node why or why not, and what would have to change. @throws CodedError not_found, planner_busy */
  explainDeployment(name: string): Promise<readonly string[]>;
  /** @param maxMoves from 0 @throws CodedError planner_busy */
  defragment(maxMoves: number): Promise<DefragmentView>;
  /** Undefined: there is no such deployment. */
  rollout(name: string): RolloutReport | undefined;
  /** Every engine of the fleet that is wanted or runs, by node and name. */
  engines(): readonly EngineReport[];
  /** What is declared, and what agents have quarantined by themselves. */
  quarantines(): readonly QuarantineReport[];
}
