/**
 * What a filter is: a reason for which a node does not take a replica of a deployment. Node filters look at what a node is and
 * are asked once for all nodes that are alike; room filters look at what is free on it now. Types only.
 */
import type { NodeSnapshot, WantedDeployment } from '../contract.ts';
import type { Board } from '../board.ts';
import type { Demand } from '../demand.ts';
import type { Reason } from '../reasons.ts';

export interface NodeAsk {
  readonly nowMs: number;
  readonly staleAfterMs: number;
}

export interface NodeFilter {
  readonly by: Reason['by'];
  /** @returns the reason against the node; undefined: none */
  refuses(node: NodeSnapshot, deployment: WantedDeployment, ask: NodeAsk): Reason | undefined;
}

export interface RoomFilter {
  readonly by: Reason['by'];
  /** @param node the node's place in the fleet */
  refuses(board: Board, node: number, demand: Demand): Reason | undefined;
}
