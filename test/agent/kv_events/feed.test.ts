/** Feeds of cache events over real Unix sockets: from a publisher as vLLM's, from one that lies, and to schedulers. */
import { mkdtemp } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { KvFeed, type KvFault } from '../../../agent/adapters/kv_events/kv_feed.ts';
import { KvReporter } from '../../../agent/adapters/kv_events/kv_reporter.ts';
import { type KvPublisher, startKvPublisher } from '../../../agent/engines/sim/kv_publisher.ts';
import type { EngineView } from '../../../agent/ports.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { encodeMsgpack } from '../../../lib/msgpack.ts';
import { BLOCK_TOKENS, blockHashes } from '../../../lib/prefix_hash.ts';
import { zmtpMessage, zmtpOpening } from '../../../lib/zmtp.ts';
import type { KvEvents } from '../../../proto/gen/fleet/v1/KvEvents.ts';
import { removeFolder, until } from '../../support/waits.ts';

interface Sockets {
  readonly events: string;
  readonly replay: string;
}

async function sockets(t: Test): Promise<Sockets> {
  const folder = await mkdtemp(path.join(tmpdir(), 'kv-'));
  t.teardown(() => removeFolder(folder));
  return { events: path.join(folder, 'e.sock'), replay: path.join(folder, 'r.sock') };
}

function feedOf(t: Test, { events, replay }: Sockets): { feed: KvFeed; faults: Map<KvFault, number> } {
  const faults = new Map<KvFault, number>();
  const feed = new KvFeed({
    eventsPath: events,
    replayPath: replay,
    servedModel: 'm',
    clock: systemClock,
    onFault: (fault, count) => void faults.set(fault, (faults.get(fault) ?? 0) + count),
  });
  t.teardown(() => feed.stop());
  return { feed, faults };
}

const block = (n: number) => ({
  type: 'BlockStored' as const,
  block_hashes: [n],
  parent_block_hash: n === 0 ? null : n - 1,
  token_ids: Array.from({ length: 16 }, (_, i) => n * 16 + i),
  block_size: 16,
  lora_id: null,
  medium: 'GPU' as const,
});

const chain = (blocks: number): Uint32Array =>
  blockHashes(
    { unit: 'tokens', adapter: 'm' },
    Array.from({ length: 16 * blocks }, (_, i) => i),
    BLOCK_TOKENS,
  );

const publish = (publisher: KvPublisher, n: number): void => publisher.add({ ts: 1, events: [block(n)] });

t.test('what was published before, while it was away and since makes one picture', async (t) => {
  const place = await sockets(t);
  let publisher = await startKvPublisher(place);
  for (let n = 0; n < 3; n++) publish(publisher, n);
  const { feed, faults } = feedOf(t, place);
  await until(() => feed.mirror.blocks === 3, 'the replay');
  publish(publisher, 3);
  await until(() => feed.mirror.blocks === 4, 'a live batch');
  t.strictSame(feed.mirror.all(), chain(4));
  t.equal(feed.connected, true);
  publisher.close();
  await until(() => !feed.connected, 'the loss');
  t.equal(feed.mirror.blocks, 4);
  publisher = await startKvPublisher(place);
  t.teardown(() => publisher.close());
  for (let n = 0; n < 6; n++) publish(publisher, n);
  await until(() => feed.mirror.blocks === 6, 'what came meanwhile');
  t.strictSame(feed.mirror.all(), chain(6));
  t.equal(faults.get('disconnected'), 1);
  t.equal(faults.get('gap'), undefined);
});

/** A publisher that says what the test wants; `say` reaches every peer that has subscribed. */
async function liar(t: Test, place: string, answers = false) {
  const peers = new Set<Socket>();
  const server = createServer((peer) => {
    peers.add(peer);
    peer.on('error', () => peer.destroy());
    peer.on('close', () => peers.delete(peer));
    peer.write(zmtpOpening(answers ? 'ROUTER' : 'PUB'));
    peer.on('data', () => undefined);
  });
  await new Promise<void>((resolve) => void server.listen(place, resolve));
  t.teardown(() => {
    server.close();
    for (const peer of peers) peer.destroy();
  });
  return { peers, say: (bytes: Uint8Array) => peers.forEach((peer) => peer.write(bytes)) };
}

const seqFrame = (seq: bigint): Uint8Array => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, seq);
  return bytes;
};
const empty = new Uint8Array(0);
const batch = (seq: bigint, ...events: unknown[]): Uint8Array =>
  zmtpMessage([empty, seqFrame(seq), encodeMsgpack([1, events as never, 0])]);

t.test('gaps, repeats, malformed batches and unknown blocks are counted, and the picture heals', async (t) => {
  const place = await sockets(t);
  const { say, peers } = await liar(t, place.events);
  const { feed, faults } = feedOf(t, place);
  await until(() => peers.size === 1 && feed.connected, 'the connection');
  say(batch(0n, block(0), block(1)));
  await until(() => feed.mirror.blocks === 2, 'the first batch');
  say(batch(0n, block(0)));
  await until(() => faults.get('repeated') === 1, 'the repeat');
  say(batch(5n, block(2)));
  await until(() => faults.get('gap') === 1 && feed.mirror.blocks === 3, 'what goes on shows that the rest is there');
  say(batch(6n, block(9)));
  await until(() => faults.get('skipped') === 1, 'a block of an unknown parent');
  const junk = [
    zmtpMessage([empty, seqFrame(7n), Uint8Array.of(0xc1)]),
    batch(8n, { type: 'BlockStored' }),
    zmtpMessage([empty, seqFrame(-3n), encodeMsgpack([])]),
    zmtpMessage([Uint8Array.of(1)]),
    zmtpMessage([empty, Uint8Array.of(1), encodeMsgpack([])]),
  ];
  for (const [i, bytes] of junk.entries()) {
    say(bytes);
    await until(() => faults.get('malformed') === i + 1, `malformed message ${i}`);
  }
  t.equal(feed.mirror.blocks, 0);
  say(batch(9n, block(3)));
  await until(() => feed.mirror.blocks === 4, 'the picture');
  t.strictSame(feed.mirror.all().slice().sort(), chain(4).slice().sort());
});

t.test('a peer that speaks another protocol, or sends without end, is left and asked again', async (t) => {
  const place = await sockets(t);
  const { say, peers } = await liar(t, place.events);
  const { feed, faults } = feedOf(t, place);
  await until(() => feed.connected, 'the connection');
  const huge = Uint8Array.of(2, 0, 0, 0, 1, 0, 0, 0, 0);
  say(huge);
  await until(() => faults.get('disconnected') === 1, 'the end');
  await until(() => feed.connected && peers.size === 1, 'the next connection');
  say(Uint8Array.of(9, 9, 9));
  await until(() => faults.get('disconnected') === 2, 'the second end');
});

t.test('a replay that is malformed, endless or silent does not keep live batches away', async (t) => {
  const place = await sockets(t);
  const live = await liar(t, place.events);
  const again = await liar(t, place.replay, true);
  const { feed, faults } = feedOf(t, place);
  await until(() => live.peers.size === 1 && again.peers.size === 1, 'both connections');
  live.say(batch(0n, block(0)));
  again.say(zmtpMessage([empty, empty, Uint8Array.of(1), empty]));
  await until(() => feed.mirror.blocks === 1, 'the live batch');
  t.equal(faults.get('malformed'), 1);
  live.say(batch(7n, block(1)));
  await until(() => again.peers.size === 1, 'the second question');
  again.say(batch(1n, block(1)));
  for (const peer of again.peers) peer.end();
  await until(() => faults.get('gap') === 1, 'what is still missing');
});

const viewOf = (incarnation: number, status = 'ready'): EngineView =>
  ({
    life: { incarnation, status, spec: { name: 'e', servedModelName: 'm' } },
    address: undefined,
  }) as unknown as EngineView;

t.test('schedulers get a snapshot, then changes; one that can take no more gets a snapshot later', async (t) => {
  const place = await sockets(t);
  const publisher = await startKvPublisher(place);
  t.teardown(() => publisher.close());
  let views = [viewOf(1)];
  let taking = true;
  const sent: [string, KvEvents][] = [];
  const reporter = new KvReporter({
    clock: systemClock,
    engines: () => views,
    socketsOf: () => ({ eventsPath: place.events, replayPath: place.replay }),
    send(scheduler, events) {
      if (taking) sent.push([scheduler, events]);
      return taking;
    },
    onFault: () => undefined,
  });
  reporter.start();
  t.teardown(() => reporter.stop());
  reporter.connected('s1');
  await until(() => reporter.figures().engines === 1, 'the feed');
  for (let n = 0; n < 9000; n++) publish(publisher, n);
  await until(() => reporter.figures().blocks === 9000, 'all blocks');
  reporter.connected('s2');
  const blocksFor = (scheduler: string): number =>
    sent.filter(([to]) => to === scheduler).reduce((sum, [, events]) => sum + (events.stored as Buffer).length / 8, 0);
  await until(() => blocksFor('s2') === 9000 && blocksFor('s1') >= 9000, 'the snapshots');
  const toSecond = sent.filter(([to]) => to === 's2').map(([, events]) => events);
  t.strictSame(
    toSecond.map(({ seq, snapshot }) => [seq, snapshot ?? false]),
    [
      [0, true],
      [1, false],
    ],
  );
  sent.length = 0;
  publisher.add({ ts: 1, events: [{ type: 'BlockRemoved', block_hashes: [8999], medium: 'GPU' }] });
  await until(() => sent.length === 2, 'the change, to both');
  t.match(sent[0]?.[1], { engine: 'e', incarnation: 1, removed: { length: 8 } });
  taking = false;
  publish(publisher, 8999);
  await until(() => reporter.figures().blocks === 9000, 'a block that nobody takes');
  reporter.disconnected('s1');
  await new Promise((resolve) => setTimeout(resolve, 250));
  taking = true;
  sent.length = 0;
  await until(() => sent.length >= 2, 'a snapshot for the one that is left');
  t.strictSame([sent[0]?.[0], sent[0]?.[1].snapshot], ['s2', true]);
  views = [viewOf(2)];
  await until(() => sent.at(-1)?.[1].incarnation === 2, 'the next life');
  views = [viewOf(2, 'stopped')];
  await until(() => reporter.figures().engines === 0, 'the end');
});
