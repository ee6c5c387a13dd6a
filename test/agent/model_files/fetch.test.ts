/** Models brought from a hub, from S3 and over HTTPS by real connections to this machine, through every kind of trouble. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { BUCKET, COMMIT, type Fault, type SourceFile, sumOf } from '../../../bench/models/source_server.ts';
import { until } from '../../support/waits.ts';
import { address, credentials, hub, place, source } from './place.ts';

const KIB = 1024;
const WEIGHTS: SourceFile = { path: 'model.safetensors', bytes: 700 * KIB + 17, seed: 1 };
const CONFIG: SourceFile = { path: 'config.json', bytes: 700, seed: 2 };
const FILES = [CONFIG, WEIGHTS, { path: 'pytorch_model.bin', bytes: 900 * KIB, seed: 3 }];
const PAIR = [CONFIG, WEIGHTS];

const shaOf = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** Names in the models folder less the ones of the agent itself. */
const shelves = (folder: string): string[] => readdirSync(folder).filter((name) => !name.startsWith('.sophia-'));

/** One fault after the other for the weights, then none. */
function faults(list: readonly Fault[]): (request: unknown, file: SourceFile) => Fault | undefined {
  const left = [...list];
  return (_request, file) => (file === WEIGHTS ? left.shift() : undefined);
}

t.test(
  'a repository of the hub is brought whole, checked, under its commit, without weights in other formats',
  async (t) => {
    const server = await source(t, { files: () => FILES, pageSize: 1 });
    const here = await place(t, { hubUrl: server.url });
    const { path: folder, files } = await here.bring(hub());
    t.equal(folder, path.join(here.folder, `maker--model@${COMMIT}`));
    t.same([...files].sort(), ['config.json', 'model.safetensors']);
    t.equal(shaOf(path.join(folder, 'model.safetensors')), sumOf(WEIGHTS));
    t.equal(server.sentBytes(), WEIGHTS.bytes + CONFIG.bytes, 'each byte once');
    t.match(here.models.readings(), [
      {
        source: 'hf://maker/model',
        state: 'ready',
        resolved: COMMIT,
        wanted: true,
        presentBytes: WEIGHTS.bytes + CONFIG.bytes,
      },
    ]);
    t.notOk(existsSync(path.join(here.folder, '.sophia-fetch', 'parts')));
  },
);

t.test('a model that is on disk is used without a look at the network, also by the next agent', async (t) => {
  const server = await source(t, { files: () => FILES });
  const first = await place(t, { hubUrl: server.url });
  await first.bring(hub());
  await first.models.stop();
  const next = await place(t, { folder: first.folder });
  t.equal((await next.bring(hub())).path, path.join(first.folder, `maker--model@${COMMIT}`));
});

t.test('a file that was changed on disk since is not handed out: the model is fetched again', async (t) => {
  const server = await source(t, { files: () => FILES });
  const first = await place(t, { hubUrl: server.url });
  const { path: folder } = await first.bring(hub());
  await first.models.stop();
  writeFileSync(path.join(folder, 'config.json'), 'x'.repeat(700));
  utimesSync(path.join(folder, 'config.json'), 1, 1);
  const next = await place(t, { folder: first.folder, hubUrl: server.url });
  const again = await next.bring(hub());
  t.equal(shaOf(path.join(again.path, 'config.json')), sumOf(CONFIG));
});

t.test('files that somebody removed are fetched again before the next start of an engine', async (t) => {
  const server = await source(t, { files: () => PAIR });
  const here = await place(t, { hubUrl: server.url });
  const { path: folder } = await here.bring(hub());
  rmSync(path.join(folder, 'model.safetensors'));
  here.models.again(hub());
  t.match(here.state(hub()), { kind: 'busy', message: /looked at/ });
  await here.bring(hub());
  t.equal(shaOf(path.join(folder, 'model.safetensors')), sumOf(WEIGHTS));
  here.models.again(hub());
  await here.bring(hub());
  t.equal(server.sentBytes(), 2 * (WEIGHTS.bytes + CONFIG.bytes), 'what is sound is not fetched again');
});

t.test('a cut connection goes on where it was, and so does an agent that was stopped midway', async (t) => {
  const cut = { kind: 'cut', afterBytes: 40 * KIB } as const;
  const server = await source(t, { files: () => FILES, fault: faults([cut, cut, cut]) });
  const here = await place(t, { hubUrl: server.url });
  await here.bring(hub());
  t.equal(server.sentBytes(), WEIGHTS.bytes + CONFIG.bytes, 'no byte twice');

  const slow = await source(t, {
    files: () => FILES,
    fault: (_r, file) => (file === WEIGHTS ? { kind: 'slow', bytes: 8 * KIB } : undefined),
  });
  const stopped = await place(t, { hubUrl: slow.url });
  stopped.models.setWanted([hub()]);
  await until(() => slow.sentBytes() > 300 * KIB, 'a part of it');
  await stopped.models.stop();
  const had = slow.sentBytes();
  const quick = await source(t, { files: () => FILES });
  const next = await place(t, { folder: stopped.folder, hubUrl: quick.url });
  const { path: folder } = await next.bring(hub());
  t.equal(shaOf(path.join(folder, 'model.safetensors')), sumOf(WEIGHTS));
  t.ok(quick.sentBytes() < WEIGHTS.bytes + CONFIG.bytes - had / 2, `${quick.sentBytes()} bytes after ${had}`);
});

t.test('a wrong byte is found and named; the file is fetched again, and only it', async (t) => {
  const server = await source(t, { files: () => FILES, fault: faults([{ kind: 'wrong', at: 100 }]) });
  const here = await place(t, { hubUrl: server.url });
  const { path: folder } = await here.bring(hub());
  t.equal(shaOf(path.join(folder, 'model.safetensors')), sumOf(WEIGHTS));
  t.match(
    here.log.map(({ fields }) => fields),
    [{ kind: 'wrong_bytes', detail: /model\.safetensors has wrong bytes/ }],
  );
  t.equal(server.sentBytes(), 2 * WEIGHTS.bytes + CONFIG.bytes);
});

t.test('a small file outside of LFS is checked by its name in git', async (t) => {
  const left: Fault[] = [{ kind: 'wrong', at: 3 }];
  const server = await source(t, {
    files: () => PAIR,
    fault: (_r, file) => (file === CONFIG ? left.shift() : undefined),
  });
  const here = await place(t, { hubUrl: server.url });
  const { path: folder } = await here.bring(hub());
  t.equal(shaOf(path.join(folder, 'config.json')), sumOf(CONFIG));
  t.match(here.log[0]?.fields, { kind: 'wrong_bytes', detail: /config\.json/ });
});

t.test(
  'a source whose bytes stay wrong is given up, nothing appears, and it is tried again only when asked',
  async (t) => {
    let lies = true;
    const server = await source(t, {
      files: () => PAIR,
      fault: (_r, file) => (lies && file === WEIGHTS ? { kind: 'wrong', at: 5 } : undefined),
    });
    const here = await place(t, { hubUrl: server.url });
    const why = await here.failed(hub());
    t.match(why, /model\.safetensors has wrong bytes.*SHA-256/);
    t.same(shelves(here.folder), []);
    t.ok(server.sentBytes() <= 3 * WEIGHTS.bytes + CONFIG.bytes, 'three times at most');
    t.match(here.models.readings(), [{ state: 'failed', message: why }]);
    lies = false;
    here.models.again(hub());
    t.equal((await here.bring(hub())).kind, 'ready');
  },
);

t.test('429, 5xx, a source that hangs and one that trickles are waited for', async (t) => {
  const trouble: Fault[] = [
    { kind: 'status', status: 429, retryAfter: '1' },
    { kind: 'status', status: 500 },
    { kind: 'hang' },
    { kind: 'slow', bytes: 1 },
  ];
  const server = await source(t, { files: () => PAIR, fault: faults(trouble) });
  const here = await place(t, {
    hubUrl: server.url,
    connections: 1,
    times: { answerTimeoutMs: 10_000, stallTimeoutMs: 300 },
  });
  const { path: folder } = await here.bring(hub());
  t.equal(shaOf(path.join(folder, 'model.safetensors')), sumOf(WEIGHTS));
  const kinds = here.log.map(({ fields }) => fields['kind']).filter((kind) => kind !== undefined);
  t.same(kinds, ['busy', 'server', 'stalled', 'stalled']);
  t.ok((here.log[0]?.fields['delayMs'] as number) >= 1000, 'as Retry-After says');
});

t.test('a source that ignores ranges is read in one stream, and judged by what the last one brought', async (t) => {
  let answers = 0;
  const server = await source(t, {
    files: () => PAIR,
    fault(_request, file) {
      if (file !== WEIGHTS) return undefined;
      answers += 1;
      // The first answer shows that ranges are ignored. The stream that is cut was right; the next is wrong in that part.
      if (answers === 2) return { kind: 'whole', afterBytes: 300 * KIB };
      return answers === 3 ? { kind: 'whole', at: 100 } : { kind: 'whole' };
    },
  });
  const here = await place(t, { hubUrl: server.url, connections: 1 });
  const { path: folder } = await here.bring(hub());
  t.equal(shaOf(path.join(folder, 'model.safetensors')), sumOf(WEIGHTS));
  const kinds = here.log.map(({ fields }) => fields['kind']).filter((kind) => kind !== undefined);
  t.same(kinds, ['cut', 'wrong_bytes']);
});

t.test('one file of a repository, or of a split one all pieces, is what a path behind it names', async (t) => {
  const files = [
    { path: 'gguf/q4-00001-of-00002.gguf', bytes: 1000, seed: 1 },
    { path: 'gguf/q4-00002-of-00002.gguf', bytes: 1000, seed: 2 },
    { path: 'gguf/q8.gguf', bytes: 1000, seed: 3 },
  ];
  const server = await source(t, { files: () => files });
  const here = await place(t, { hubUrl: server.url });
  t.same([...(await here.bring(hub('gguf/q4-00001-of-00002.gguf'))).files].sort(), [
    'q4-00001-of-00002.gguf',
    'q4-00002-of-00002.gguf',
  ]);
});

t.test('a token goes to the host that it is for, not to where that one redirects, and to no log', async (t) => {
  const cdn = await source(t, { files: () => PAIR });
  const server = await source(t, {
    files: () => PAIR,
    refuse: ({ authorization }) => (authorization === 'Bearer hub-canary' ? undefined : 401),
    fault: () => ({ kind: 'redirect', to: cdn.url }),
  });
  const host = new URL(server.url).host;
  const file = credentials(t, { hosts: { [host]: { token: { env: 'HUB_TOKEN' } } } });
  const here = await place(t, { hubUrl: server.url, credentialsFile: file, environment: { HUB_TOKEN: 'hub-canary' } });
  await here.bring(hub());
  t.ok(cdn.requests.length > 0);
  t.same(
    cdn.requests.filter(({ authorization }) => authorization !== undefined),
    [],
  );
  t.notMatch(JSON.stringify([here.log, here.models.readings()]), /canary/);
});

t.test('without a token a gated repository is waited for, slowly, and comes once there is one', async (t) => {
  const server = await source(t, {
    files: () => PAIR,
    refuse: ({ authorization }) => (authorization === undefined ? 403 : undefined),
  });
  const file = credentials(t, {});
  const here = await place(t, { hubUrl: server.url, credentialsFile: file });
  here.models.setWanted([hub()]);
  await until(
    () => /answered 403 \(Refused403\)/.test((here.state(hub()) as { message: string }).message),
    'the refusal',
  );
  t.match(here.models.readings(), [{ state: 'waiting', message: /answered 403/ }]);
  writeFileSync(file, JSON.stringify({ hosts: { [new URL(server.url).host]: { token: { value: 'x' } } } }), {
    mode: 0o600,
  });
  t.equal((await here.bring(hub())).kind, 'ready');
});

t.test(
  'a bucket is listed page by page, with signatures where there are keys, and a file of sums is heeded',
  async (t) => {
    const files = [1, 2, 3].map((seed) => ({ path: `llm/a b/part-${seed}.safetensors`, bytes: 90 * KIB, seed }));
    const server = await source(t, { files: () => files, pageSize: 2 });
    const keys = { accessKeyId: { value: 'AKIDEXAMPLE' }, secretAccessKey: { env: 'S3_SECRET' } };
    const file = credentials(t, { buckets: { '*': { endpoint: server.url, region: 'eu-west-1', ...keys } } });
    const here = await place(t, { credentialsFile: file, environment: { S3_SECRET: 'secret-canary' } });
    const found = await here.bring(address(`s3://${BUCKET}/llm`));
    t.same([...found.files].sort(), ['a b/part-1.safetensors', 'a b/part-2.safetensors', 'a b/part-3.safetensors']);
    const [first] = server.requests;
    t.match(
      first?.authorization,
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/s3\/aws4_request, SignedHeaders=.*host.*, Signature=[0-9a-f]{64}$/,
    );
    t.notMatch(JSON.stringify([server.requests, here.log]), /canary/);
  },
);

t.test('a file of a bucket that changes while it is fetched is fetched anew from its start', async (t) => {
  let seed = 7;
  const file = (): SourceFile => ({ path: 'm/w.safetensors', bytes: 400 * KIB, seed });
  const server = await source(t, {
    files: () => [file()],
    fault() {
      // It is replaced after the first answers.
      if (server.sentBytes() > 150 * KIB) seed = 8;
      return { kind: 'slow', bytes: 32 * KIB };
    },
  });
  const secrets = credentials(t, { buckets: { bucket: { endpoint: server.url } } });
  const here = await place(t, { credentialsFile: secrets, connections: 1 });
  const { path: folder } = await here.bring(address(`s3://${BUCKET}/m`));
  t.equal(shaOf(path.join(folder, 'w.safetensors')), sumOf({ ...file(), seed: 8 }));
  t.ok(here.log.some(({ fields }) => fields['kind'] === 'changed'));
});

t.test('a folder over HTTPS comes with its sums, from the order or beside the files, and not without', async (t) => {
  const server = await source(t, { files: () => PAIR });
  const here = await place(t);
  const carried = await here.bring(address(`${server.url}/files/`));
  t.same([...carried.files].sort(), ['config.json', 'model.safetensors']);
  const one = address(`${server.url}/files/model.safetensors`, { 'model.safetensors': sumOf(WEIGHTS).toUpperCase() });
  t.same((await here.bring(one)).files, ['model.safetensors']);
  t.match(await here.failed(address(`${server.url}/files/model.safetensors`)), /needs a checksum/);
  const wrong = address(`${server.url}/files/config.json`, { 'config.json': '0'.repeat(64) });
  t.match(await here.failed(wrong), /config\.json has wrong bytes/);
});
