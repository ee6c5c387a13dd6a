/** What agents say of prefix caches, in order, out of order, late, broken, and too large. */
import t from 'tap';
import type { NodeId } from '../../../../lib/ids.ts';
import type { KvEvents__Output } from '../../../../proto/gen/fleet/v1/KvEvents.ts';
import { createKvIntake } from '../../../../scheduler/core/residency/kv_intake.ts';
import { createResidency } from '../../../../scheduler/core/residency/residency.ts';
import { life, ownPrompt } from './residency_support.ts';

const NODE = 'n' as NodeId;
const NONE = Buffer.alloc(0);

function bytesOf(name: number, blocks: number): Buffer {
  const { hashes } = ownPrompt(name, blocks);
  const bytes = Buffer.alloc(hashes.length * 4);
  hashes.forEach((word, i) => bytes.writeUInt32LE(word, 4 * i));
  // One byte further on, as a message's fields lie.
  return Buffer.concat([Buffer.alloc(1), bytes]).subarray(1);
}

function fixture() {
  const index = createResidency({ maxBytes: 2 ** 20 });
  const refused: string[] = [];
  const intake = createKvIntake({
    index,
    isPresent: (node, engine, incarnation) => node === NODE && engine === 'e' && incarnation === 3,
    onRefused: (why) => void refused.push(why),
  });
  const take = (events: Partial<KvEvents__Output>, node = NODE): void =>
    intake.take(
      node,
      { engine: 'e', incarnation: 3, seq: 0, snapshot: false, stored: NONE, removed: NONE, ...events },
      1000,
    );
  const held = (name: number, blocks: number): number => {
    const out = new Uint32Array(1);
    index.overlap([life('n/e', 3)], ownPrompt(name, blocks), out);
    return out[0] as number;
  };
  return { index, take, held, refused };
}

t.test('a snapshot and what follows it make the picture', async (t) => {
  const { index, take, held, refused } = fixture();
  index.dispatched(life('n/e', 3), ownPrompt(9, 3), 0);
  take({ seq: 0, snapshot: true, stored: bytesOf(1, 5) });
  t.equal(held(9, 3), 0, 'what was guessed before is void');
  take({ seq: 1, removed: bytesOf(1, 5).subarray(32), stored: bytesOf(2, 2) });
  t.strictSame([held(1, 5), held(2, 2)], [4, 2]);
  take({ seq: 2, removed: bytesOf(2, 2), stored: bytesOf(2, 1) });
  t.equal(held(2, 2), 1, 'removed counts before stored');
  take({ seq: 7, snapshot: true, stored: bytesOf(3, 1) });
  take({ seq: 8, stored: bytesOf(3, 2) });
  t.strictSame([held(1, 5), held(3, 2)], [0, 2]);
  t.strictSame(refused, []);
});

t.test('a gap, a repeat and a change before any snapshot leave an empty picture until the next one', async (t) => {
  const { take, held, refused } = fixture();
  take({ seq: 1, stored: bytesOf(1, 1) });
  take({ seq: 0, snapshot: true, stored: bytesOf(1, 5) });
  take({ seq: 2, stored: bytesOf(2, 2) });
  t.strictSame([held(1, 5), held(2, 2)], [0, 0]);
  take({ seq: 3, stored: bytesOf(2, 2) });
  take({ seq: 4, snapshot: true, stored: bytesOf(1, 5) });
  take({ seq: 4, stored: bytesOf(2, 2) });
  t.strictSame([held(1, 5), held(2, 2)], [0, 0]);
  t.strictSame(refused, ['unexpected', 'gap', 'unexpected', 'gap']);
});

t.test('what is said of another life, node or engine comes too late, and what is malformed is refused', async (t) => {
  const { index, take, held, refused } = fixture();
  take({ snapshot: true, incarnation: 2, stored: bytesOf(1, 1) });
  take({ snapshot: true, engine: 'x', stored: bytesOf(1, 1) });
  take({ snapshot: true, stored: bytesOf(1, 1) }, 'other' as NodeId);
  t.equal(index.figures.lives, 0);
  take({ seq: 0, snapshot: true, stored: bytesOf(1, 2) });
  take({ seq: 1, stored: Buffer.alloc(12) });
  t.equal(held(1, 2), 0);
  take({ seq: 2, snapshot: true, removed: Buffer.alloc(1024 * 1024 + 8) });
  t.strictSame(refused, ['stale', 'stale', 'stale', 'malformed', 'malformed']);
});

t.test('nodes beyond the bound are forgotten, those first that said nothing for longest', async (t) => {
  const index = createResidency({ maxBytes: 2 ** 20, maxLives: 8 });
  const refused: string[] = [];
  const intake = createKvIntake({ index, isPresent: () => true, onRefused: (why) => void refused.push(why) });
  const tell = (node: string, seq: number, snapshot: boolean): void =>
    intake.take(node as NodeId, { engine: 'e', incarnation: 1, seq, snapshot, stored: NONE, removed: NONE }, 0);
  for (let i = 0; i < 4097; i++) tell(`node-${i}`, 0, true);
  tell('node-4096', 1, false);
  t.strictSame(refused, []);
  tell('node-0', 1, false);
  t.strictSame(refused, ['unexpected']);
});
