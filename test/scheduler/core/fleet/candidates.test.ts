/** What routing is told of an engine out of its specification and its readings. */
import t from 'tap';
import { EMBEDDED_MAX_SEQUENCES } from '../../../../lib/engine_defaults.ts';
import { factsOf } from '../../../../scheduler/core/fleet/candidates.ts';
import type { EngineRecord, NodeState } from '../../../../scheduler/core/fleet/state.ts';
import { engineEvent, engineIdOf, hello, NODE } from '../../fakes.ts';

function told(extraFlags: readonly string[], reading: object = {}, kind = 'ENGINE_KIND_VLLM') {
  const engine = {
    id: engineIdOf('e0'),
    name: 'e0',
    event: engineEvent(),
    models: engineEvent().models,
    reading: { engine: 'e0', incarnation: 1, ...reading },
    reservedAtReading: 0,
    history: [],
  } as unknown as EngineRecord;
  const node = {
    name: NODE,
    connected: true,
    hello: hello(),
    desired: { engines: [{ name: 'e0', kind, extraFlags }] },
    lastSeenAtMs: 5,
    engines: new Map([['e0', engine]]),
  } as unknown as NodeState;
  return factsOf(node, engine, true);
}

t.test('the most sequences at a time are those of the flag, which may be given in two ways and twice', async (t) => {
  for (const [flags, sequences] of [
    [['--max-num-seqs', '8'], 8],
    [['--max-num-seqs=16', '--seed', '1'], 16],
    [['--max-num-seqs', '8', '--max-num-seqs', '4'], 4],
    [['--max-num-seqs-x', '8'], undefined],
    [['--max-num-seqs'], undefined],
    [['--max-num-seqs', 'many'], undefined],
    [[], undefined],
  ] as const)
    t.equal(told(flags).maxSequences, sequences, flags.join(' '));
});

t.test('without the flag the most sequences are those of the embedded engine, and of others not known', async (t) => {
  const of = (kind: string): number | undefined => told([], undefined, kind).maxSequences;
  t.equal(of('ENGINE_KIND_LLAMA'), EMBEDDED_MAX_SEQUENCES);
  t.equal(of('ENGINE_KIND_VLLM'), undefined);
  t.equal(told(['--max-num-seqs', '3'], undefined, 'ENGINE_KIND_LLAMA').maxSequences, 3);
});

t.test('the size of the cache comes from the reading', async (t) => {
  t.equal(told([], { kvCacheTokens: 4096 }).kvTokens, 4096);
  t.equal(told([]).kvTokens, undefined);
  t.equal(told([], { relayedRequests: 3, runningRequests: 1, waitingRequests: 1 }).otherRequests, 3);
});
