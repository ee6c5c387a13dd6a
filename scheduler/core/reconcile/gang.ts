/**
 * How the engines of one replica on several hosts find each other. vLLM's own way without Ray: each host runs one process
 * tree with `--nnodes`, `--node-rank`, `--master-addr` and `--master-port`, all but the first with `--headless` (names and
 * meaning: vLLM 0.32, vllm/engine/arg_utils.py and entrypoints/cli/serve.py). The simulated engine takes the same flags.
 */
import type { NodeId } from '../../../lib/ids.ts';
import { HEADLESS } from '../fleet/gang_member.ts';
import type { FleetState } from '../fleet/state.ts';
import type { AssignedPart } from '../placement/contract.ts';
import type { DeploymentSpec } from '../resources/contract.ts';
import type { Gang, Place } from './contract.ts';
import { shortHash } from './places.ts';

/** Ports on which leaders await their members: below the range from which Linux gives out its own (32768). */
export const GANG_PORTS = { first: 29_600, count: 1000 } as const;

/** An IP address or a host's name. What one agent says becomes a flag on other hosts, so nothing else may pass. */
const ADDRESS = /^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$/;

/** Where other hosts reach a node: as its agent says, else by its host's name, else by its own. */
export function gangAddress(fleet: FleetState, node: string): string {
  const host = fleet.nodes.get(node as NodeId)?.hello.host;
  return [host?.gangAddress, host?.hostname].find((told) => told !== undefined && ADDRESS.test(told)) ?? node;
}

export interface GangFacts {
  readonly addressOf: (node: string) => string;
  /** Of the log: another try takes another port, as something may still listen on the one before. */
  readonly seq: number;
  /** All places that there are; looked at for a gang only. */
  readonly places: Iterable<Place>;
}

function freePort(place: Place, address: string, { seq, places }: GangFacts): number {
  const taken = new Set<number>();
  for (const { gang } of places) if (gang?.address === address) taken.add(gang.port);
  const start = Number.parseInt(shortHash(`${place.name}@${seq}`), 16);
  let port = GANG_PORTS.first + (start % GANG_PORTS.count);
  for (let tries = 0; taken.has(port) && tries < GANG_PORTS.count; tries++)
    port = GANG_PORTS.first + ((start + tries + 1) % GANG_PORTS.count);
  return port;
}

/** A place with what its members must agree on; one of a single host as it is. */
export function withGang(place: Place, facts: GangFacts): Place {
  const [leader, ...others] = place.parts.map(({ node }) => node);
  if (leader === undefined || others.length === 0) return place;
  const address = facts.addressOf(leader);
  return { ...place, gang: { address, port: freePort(place, address, facts), nodes: [leader, ...others] } };
}

const SPELLINGS = {
  tensor: ['--tensor-parallel-size', '-tp'],
  pipeline: ['--pipeline-parallel-size', '-pp'],
} as const;

/** The number that flags give under one of the names, in either spelling; undefined: none. */
function numberOf(flags: readonly string[], names: readonly string[]): number | undefined {
  for (const [at, flag] of flags.entries()) {
    const [name = '', inline] = flag.replaceAll('_', '-').split('=', 2);
    if (names.includes(name)) return Number(inline ?? flags[at + 1]);
  }
  return undefined;
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value > 0;

interface Shape {
  readonly tensor: number;
  readonly pipeline: number;
}

/**
 * How a model is divided: by tensors within a host and by layers over hosts, as vLLM advises for hosts without a fast
 * fabric between them; what the deployment says wins.
 * @returns undefined: what it says does not come out at the GPUs that it asks for
 */
export function shapeOf({ extraFlags, gpusPerHost }: DeploymentSpec, hosts: number): Shape | undefined {
  const perHost = Math.max(1, gpusPerHost);
  const all = perHost * hosts;
  const givenTensor = numberOf(extraFlags, SPELLINGS.tensor);
  const givenPipeline = numberOf(extraFlags, SPELLINGS.pipeline);
  const tensor = givenTensor ?? (givenPipeline === undefined ? perHost : all / givenPipeline);
  const pipeline = givenPipeline ?? all / tensor;
  return isCount(tensor) && isCount(pipeline) && tensor * pipeline === all ? { tensor, pipeline } : undefined;
}

/** Why a deployment over several hosts cannot be started, in words; undefined: it can. */
export function unsoundGang(spec: DeploymentSpec | undefined): string | undefined {
  const hosts = spec?.hosts ?? 1;
  if (spec === undefined || hosts === 1) return undefined;
  if (spec.engine === 'llama') return 'an engine of kind llama runs on one host';
  if (spec.engine === 'vllm' && shapeOf(spec, hosts) === undefined)
    return `its flags do not divide the model over ${hosts} hosts of ${Math.max(1, spec.gpusPerHost)} each`;
  return undefined;
}

function shapeFlags(spec: DeploymentSpec, { nodes }: Gang): string[] {
  const shape = shapeOf(spec, nodes.length);
  if (shape === undefined) return [];
  const { tensor, pipeline } = shape;
  return [
    ...(numberOf(spec.extraFlags, SPELLINGS.tensor) === undefined ? ['--tensor-parallel-size', String(tensor)] : []),
    ...(numberOf(spec.extraFlags, SPELLINGS.pipeline) === undefined
      ? ['--pipeline-parallel-size', String(pipeline)]
      : []),
    // Where Ray is installed some releases would take it.
    ...(spec.extraFlags.some((flag) => flag.startsWith('--distributed-executor-backend'))
      ? []
      : ['--distributed-executor-backend', 'mp']),
  ];
}

/** What a member of a gang is told besides what its deployment says. */
export function gangFlags({ spec, gang }: Place, { node }: AssignedPart): string[] {
  if (gang === undefined) return [];
  const rank = gang.nodes.indexOf(node);
  return [
    ...(spec.engine === 'vllm' ? shapeFlags(spec, gang) : []),
    ...['--nnodes', String(gang.nodes.length), '--node-rank', String(rank)],
    ...['--master-addr', gang.address, '--master-port', String(gang.port)],
    ...(rank === 0 ? [] : [HEADLESS]),
  ];
}
