/** A model that another node has: taken from there, checked as ever, and from its source whatever goes wrong on the way. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import net, { type AddressInfo, type Socket } from 'node:net';
import path from 'node:path';
import t from 'tap';
import type { PeerBook } from '../../../agent/adapters/model_files/peer_book.ts';
import { realDisk } from '../../../agent/adapters/model_files/disk.ts';
import { COMMIT, type SourceFile, sumOf } from '../../../bench/models/source_server.ts';
import { hub, type Place, place, source, temporary } from './place.ts';
import { bookOf, type Giver, giver, nodeTls, offer, SOURCE } from './peer_stand.ts';

const KIB = 1024;
const FILES: readonly SourceFile[] = [
  { path: 'config.json', bytes: 500, seed: 7 },
  { path: 'a b/w.safetensors', bytes: 900 * KIB, seed: 1 },
];
const TOTAL = 500 + 900 * KIB;

const setOffers = (book: PeerBook, peers: ReturnType<typeof offer>[]): void =>
  book.set('s:1', { models: [{ source: SOURCE, peers }] });

async function offered(here: Giver, change: Parameters<Giver['ticket']>[0] = {}) {
  return offer('gpu-1', here.port, await here.ticket(change));
}

function isWhole(folder: string): boolean {
  return FILES.every(
    (file) =>
      createHash('sha256')
        .update(readFileSync(path.join(folder, file.path)))
        .digest('hex') === sumOf(file, 'sha256'),
  );
}

const telling = ({ log }: Place): string => JSON.stringify(log);

t.test(
  'all bytes come from the other node; it is told from whom, now and after a restart, and no address',
  async (t) => {
    const origin = await source(t, { files: () => FILES });
    const other = await giver(t, FILES);
    const peers = await bookOf();
    const ticket = await offered(other);
    setOffers(peers, [ticket]);
    const here = await place(t, { hubUrl: origin.url, peers });
    const { path: folder } = await here.bring(hub());
    t.ok(isWhole(folder));
    t.equal(origin.sentBytes(), 0, 'the source told what there is, and gave none of it');
    const told = { state: 'ready', peers: 'gpu-1', peerBytes: TOTAL, presentBytes: TOTAL };
    t.match(here.models.readings(), [told]);
    t.notMatch(telling(here), new RegExp(`${ticket.ticket}|:${other.port}|127\\.0\\.0\\.1:`));
    await here.models.stop();
    const next = await place(t, { hubUrl: origin.url, folder: here.folder });
    t.match(next.models.readings(), [told]);
  },
);

t.test('the other node goes away in the middle: the source gives the rest and nothing twice', async (t) => {
  const origin = await source(t, { files: () => FILES });
  const other = await giver(t, FILES, { bandwidth: 1500 * KIB });
  const peers = await bookOf();
  setOffers(peers, [await offered(other)]);
  let written = 0;
  const here = await place(t, {
    hubUrl: origin.url,
    peers,
    disk: {
      ...realDisk,
      async write(...of) {
        written += of[1].reduce((sum, { length }) => sum + length, 0);
        if (written > 300 * KIB) other.door.stop();
        await realDisk.write(...of);
      },
    },
  });
  const { path: folder } = await here.bring(hub());
  t.ok(isWhole(folder));
  const sent = origin.sentBytes();
  t.ok(sent > 0 && sent < TOTAL - 200 * KIB, `${sent} bytes of ${TOTAL} came from the source`);
  t.match(telling(here), /Node gpu-1 did not give its files \(cut\)/);
});

/** Passes bytes through and cuts each connection after so many of them. */
async function cutting(t: { teardown(task: () => unknown): void }, to: number, afterBytes: number): Promise<number> {
  const sockets = new Set<Socket>();
  const server = net.createServer((client) => {
    const up = net.connect(to, '127.0.0.1');
    let bytes = 0;
    for (const socket of [client, up]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        client.destroy();
        up.destroy();
      });
    }
    client.pipe(up);
    up.on('data', (part: Buffer) => {
      bytes += part.length;
      client.write(part);
      if (bytes > afterBytes) client.resetAndDestroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

t.test('a connection that is cut again and again costs no byte that came before the cut', async (t) => {
  const origin = await source(t, { files: () => FILES });
  const other = await giver(t, FILES);
  const through = await cutting(t, other.port, 40 * KIB);
  const peers = await bookOf();
  setOffers(peers, [offer('gpu-1', through, await other.ticket())]);
  const here = await place(t, { hubUrl: origin.url, peers, connections: 1 });
  t.ok(isWhole((await here.bring(hub())).path));
  const sent = origin.sentBytes();
  t.ok(sent > TOTAL / 2 && sent < TOTAL, `${sent} bytes of ${TOTAL} came from the source`);
});

t.test('wrong bytes are named with the node, thrown away, and the source gives the file', async (t) => {
  const origin = await source(t, { files: () => FILES });
  const other = await giver(t, FILES);
  const weights = path.join(other.model.folder, 'a b/w.safetensors');
  const bytes = readFileSync(weights);
  bytes[500_000] = (bytes[500_000] as number) ^ 1;
  writeFileSync(weights, bytes);
  // As on a disk that rots: nothing but the content has changed.
  const { mtimeMs } = statSync(weights);
  other.door.setModels([
    { ...other.model, files: other.model.files.map((file) => (file.bytes === 500 ? file : { ...file, mtimeMs })) },
  ]);
  const peers = await bookOf();
  setOffers(peers, [await offered(other)]);
  const here = await place(t, { hubUrl: origin.url, peers });
  const { path: folder } = await here.bring(hub());
  t.ok(isWhole(folder));
  t.match(telling(here), /w\.safetensors has wrong bytes.*thrown away\. They came from gpu-1; the source is asked/);
  t.equal(origin.sentBytes() >= 900 * KIB, true, 'the whole file came from the source');
  t.equal(here.models.readings()[0]?.peers ?? '', '', 'and is said to have');
  t.equal(peers.of(SOURCE, COMMIT).take(), undefined, 'the node is not asked again');
});

t.test(
  'expired, forged and borrowed tickets, another commit, another node behind the address: the source',
  async (t) => {
    const origin = await source(t, { files: () => FILES });
    const other = await giver(t, FILES);
    const impostor = await giver(t, FILES, { tls: await nodeTls('gpu-7') });
    const nowS = Math.floor(Date.now() / 1000);
    const good = await offered(other);
    for (const [what, peer] of [
      ['expired there', await offered(other, { iat: nowS - 100, exp: nowS - 50 })],
      ['expired here', { ...good, validMs: 0 }],
      ['forged', { ...good, ticket: `${good.ticket.slice(0, -4)}AAAA` }],
      ['borrowed', await offered(other, { sub: 'gpu-3' })],
      ['another commit', { ...good, resolved: 'f'.repeat(40) }],
      ['an impostor', offer('gpu-1', impostor.port, await impostor.ticket())],
      ['nobody there', { ...good, url: 'https://127.0.0.1:1' }],
      ['plain text', { ...good, url: `http://127.0.0.1:${other.port}` }],
      ['no name', { ...good, node: '../x' }],
      ['itself', { ...good, node: 'gpu-2' }],
    ] as const) {
      const before = origin.sentBytes();
      const peers = await bookOf();
      setOffers(peers, [peer]);
      const here = await place(t, { hubUrl: origin.url, peers });
      t.ok(isWhole((await here.bring(hub())).path), what);
      t.equal(origin.sentBytes() - before, TOTAL, what);
      t.equal(here.models.readings()[0]?.peers ?? '', '', what);
      t.notMatch(telling(here), /127\.0\.0\.1/, what);
      await here.models.stop();
    }
  },
);

t.test('files that no checksum judges come from the source', async (t) => {
  const files: readonly SourceFile[] = [{ path: 'w.safetensors', bytes: 300 * KIB, seed: 4 }];
  const origin = await source(t, { files: () => files });
  const other = await giver(t, files);
  const peers = await bookOf();
  const bucket = 's3://bucket';
  peers.set('s:1', {
    models: [{ source: bucket, peers: [{ ...(await offered(other, { src: bucket, res: '' })), resolved: '' }] }],
  });
  const credentialsFile = path.join(temporary(t), 'credentials.yaml');
  writeFileSync(credentialsFile, JSON.stringify({ buckets: { bucket: { endpoint: origin.url, region: 'x' } } }), {
    mode: 0o600,
  });
  const here = await place(t, { peers, credentialsFile });
  await here.bring({ url: bucket, revision: '', sha256: {} });
  t.equal(origin.sentBytes(), 300 * KIB);
  t.notMatch(telling(here), /gpu-1/, 'and nobody else is asked');
});
