/**
 * What a score is: a figure from -1 to 1 for a replica on a node, times a weight. Node scores look at what a node is and has,
 * part scores at the GPUs that the replica would get and at what is on them when the plan is carried out. Types only.
 */
import type { NodeSnapshot, WantedDeployment } from '../contract.ts';

export interface NodeScore {
  readonly name: string;
  readonly weight: number;
  /** It looks at the deployment's model and what the node has of it, and at nothing else. */
  readonly byModel?: true;
  of(node: NodeSnapshot, deployment: WantedDeployment): number;
}

/** What a replica has, or would have, on one node. */
export interface PartView {
  readonly isPacked: boolean;
  readonly gpus: number;
  /** Share of the memory that is taken, this replica included: the mean of its GPUs, and of all GPUs of the node. */
  readonly gpuFill: number;
  readonly nodeFill: number;
  readonly oneIsland: boolean;
  readonly oneNuma: boolean;
  /** Share of its memory that lies in Grace memory instead of HBM. */
  readonly spilledShare: number;
  /** Share of its GPUs that are degraded. */
  readonly degradedShare: number;
}

export interface PartScore {
  readonly name: string;
  readonly weight: number;
  of(view: PartView): number;
}
