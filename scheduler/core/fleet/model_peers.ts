/**
 * Which nodes are to be told of which others that have a model's files: a node that wants a model and has not all of it is
 * named a few that say they have it whole and that have a door for it. Each fetching node is named others, so that a host
 * that was first is not asked by a thousand. Pure; tickets are made by whoever asks.
 */
import type { NodeId } from '../../../lib/ids.ts';
import { hashText } from '../routing/engine_slot.ts';
import type { NodeState } from './state.ts';

/** A node that has a model, and what its source was resolved to there. */
export interface NamedPeer {
  readonly node: NodeId;
  readonly url: string;
  readonly resolved: string;
}

export interface PeersOfModel {
  readonly source: string;
  readonly peers: readonly NamedPeer[];
}

/** Named for one model; more would only make the message longer. */
export const MAX_PEERS_PER_MODEL = 4;
/** Models that one node is told of at a time. */
const MAX_MODELS_PER_NODE = 16;

const WANTING: ReadonlySet<string> = new Set(['waiting', 'fetching', 'failed']);

type PeerNode = Pick<NodeState, 'name' | 'connected' | 'telemetry'>;

/** By source, the nodes that have all of it. */
function holdersOf(
  nodes: Iterable<PeerNode>,
  doorOf: (node: NodeId) => string | undefined,
): ReadonlyMap<string, readonly NamedPeer[]> {
  const holders = new Map<string, NamedPeer[]>();
  for (const { name: node, connected, telemetry } of nodes) {
    const url = connected ? doorOf(node) : undefined;
    if (url === undefined) continue;
    for (const { source, state, resolved } of telemetry?.models ?? []) {
      // What lies on a share is used there; each host reaches it by itself or not at all.
      if (state !== 'ready' || source.startsWith('file:')) continue;
      const known = holders.get(source);
      if (known === undefined) holders.set(source, [{ node, url, resolved }]);
      else known.push({ node, url, resolved });
    }
  }
  return holders;
}

/**
 * What each node that fetches is to be told; a node that needs nobody is not among them.
 * @param doorOf the address of a node's door for models, where it has one for which a ticket can be signed
 */
export function planModelPeers(
  nodes: Iterable<PeerNode>,
  doorOf: (node: NodeId) => string | undefined,
): ReadonlyMap<NodeId, readonly PeersOfModel[]> {
  const all = [...nodes];
  const holders = holdersOf(all, doorOf);
  const plans = new Map<NodeId, readonly PeersOfModel[]>();
  if (holders.size === 0) return plans;
  for (const { name, connected, telemetry } of all) {
    if (!connected) continue;
    const missing = (telemetry?.models ?? []).filter(({ wanted, state }) => wanted && WANTING.has(state));
    const plan = missing.slice(0, MAX_MODELS_PER_NODE).flatMap(({ source }): PeersOfModel[] => {
      const others = (holders.get(source) ?? []).filter(({ node }) => node !== name);
      if (others.length === 0) return [];
      const ranked = others
        .map((peer) => ({ peer, rank: hashText(`${name} ${peer.node}`) }))
        .toSorted((a, b) => a.rank - b.rank || (a.peer.node < b.peer.node ? -1 : 1));
      return [{ source, peers: ranked.slice(0, MAX_PEERS_PER_MODEL).map(({ peer }) => peer) }];
    });
    if (plan.length > 0) plans.set(name, plan);
  }
  return plans;
}
