/** Certificates on disk that change under a running process: what is taken, what is kept out, and what is said. */
import { X509Certificate } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { createCa, issueCertificate, type PemPair } from '../../../lib/io/local_ca.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { createTlsWatch, type TlsWatch } from '../../../lib/io/tls_watch.ts';
import { eventually } from '../../support/child.ts';

const DAY_MS = 86_400_000;
const now = Date.now();
const ca = await createCa('authority', now);
/** As Node writes it, which is how a watch hands it on. */
const written = (...pems: readonly string[]): string => pems.map((pem) => String(new X509Certificate(pem))).join('');
async function issue(commonName: string, signer: PemPair = ca, nowMs = now): Promise<PemPair> {
  const pair = await issueCertificate(signer, { commonName, hosts: [], nowMs });
  return { ...pair, certPem: written(pair.certPem) };
}
const first = await issue('node-a');
const second = await issue('node-a');

interface Line {
  readonly level: string;
  readonly text: string;
  readonly code?: string;
  readonly param?: string;
  readonly err?: Error;
}

interface Stage {
  readonly folder: string;
  readonly watch: TlsWatch;
  readonly lines: Line[];
  readonly outcomes: string[];
  readonly taken: string[];
  readonly expiries: number[];
  /** Days by which the wall clock is ahead. */
  aheadDays: number;
  /** How often the wall clock was read for a look at the files. */
  looks: number;
  put(name: 'ca' | 'crt' | 'key', text: string): void;
  putPair(pair: PemPair): void;
}

interface Owner {
  teardown(task: () => unknown): void;
}

function open(owner: Owner, files: { readonly folder?: string; readonly withCa?: boolean } = {}): Stage {
  const root = mkdtempSync(path.join(tmpdir(), 'tls-watch-'));
  const folder = files.folder ?? root;
  const withCa = files.withCa ?? true;
  const put = (name: string, text: string): void => writeFileSync(path.join(folder, name), text);
  if (files.folder === undefined) {
    put('ca', ca.certPem);
    put('crt', first.certPem);
    put('key', first.keyPem);
  }
  const lines: Line[] = [];
  const logger = Object.fromEntries(
    ['info', 'warn', 'error'].map((level) => [
      level,
      (fields: object, text: string) => void lines.push({ ...fields, level, text }),
    ]),
  ) as unknown as Logger;
  const of = (setting: string, name: string) => ({ setting, file: path.join(folder, name) });
  const clock = {
    ...systemClock,
    wallMs: () => {
      stage.looks += 1;
      return now + stage.aheadDays * DAY_MS;
    },
  };
  const stage = { aheadDays: 0, looks: 0 } as Stage;
  const watch = createTlsWatch({
    certificate: 'agent',
    files: { ...(withCa ? { ca: of('caFile', 'ca') } : {}), cert: of('certFile', 'crt'), key: of('keyFile', 'key') },
    commonName: 'node-a',
    reloadMs: 10,
    clock,
    logger,
  });
  Object.assign(stage, {
    folder,
    watch,
    lines,
    outcomes: [],
    taken: [],
    expiries: [],
    put,
    putPair(pair: PemPair) {
      put('crt', pair.certPem);
      put('key', pair.keyPem);
    },
  });
  watch.start({
    onChange: (set) => void stage.taken.push(set.certPem),
    onExpiry: (atMs) => void stage.expiries.push(atMs),
    onReload: (outcome) => void stage.outcomes.push(outcome),
  });
  owner.teardown(async () => {
    await watch.stop();
    rmSync(root, { recursive: true, force: true });
  });
  return stage;
}

/** Several looks later, so that what would be said twice has been said twice. */
async function looks(stage: Stage, count = 8): Promise<void> {
  const target = stage.looks + count;
  await eventually('some looks at the files', () => stage.looks >= target);
}

const refused = (stage: Stage): Promise<unknown> =>
  eventually('a refusal', () => stage.outcomes.filter((each) => each === 'refused').length > 0);

t.test('a new pair is taken, with its expiry; a touched file and a copy of the same text are not new', async (t) => {
  const stage = open(t);
  t.equal(stage.expiries.length, 1);
  stage.putPair(second);
  await eventually('the new pair', () => stage.watch.current().certPem === second.certPem);
  t.same(stage.taken, [second.certPem]);
  t.equal(stage.expiries.length, 2);
  utimesSync(path.join(stage.folder, 'crt'), 1, 1);
  await looks(stage);
  stage.putPair(second);
  await looks(stage);
  t.equal(stage.taken.length, 1);
  t.equal(stage.outcomes.filter((each) => each === 'loaded').length, 1);
});

t.test('half a rotation is kept out, told once, and taken when it is whole', async (t) => {
  const stage = open(t);
  stage.put('crt', second.certPem);
  await refused(stage);
  await looks(stage);
  t.equal(stage.watch.current().certPem, first.certPem);
  const warnings = stage.lines.filter((line) => line.level === 'warn');
  t.match(warnings, [{ code: 'invalid_config', param: 'keyFile', err: /does not belong to certFile/ }]);
  t.equal(warnings.length, 1, 'once');
  stage.put('key', second.keyPem);
  await eventually('the whole pair', () => stage.watch.current().keyPem === second.keyPem);
});

const [strange, renamed, expired, future] = await Promise.all([
  createCa('another authority', now).then((other) => issue('node-a', other)),
  issue('node-b'),
  issue('node-a', ca, now - 900 * DAY_MS),
  issue('node-a', ca, now + 2 * DAY_MS),
]);
const namesake = await issue('node-a', await createCa('authority', now));
const cut = first.certPem.slice(0, -60);
const inside = first.certPem.replace(/MII.{40}/, `MII${'A'.repeat(40)}`);

const BROKEN: readonly (readonly [name: string, spoil: (stage: Stage) => void, why: RegExp])[] = [
  ['a certificate cut short', (stage) => stage.put('crt', cut), /certFile: the file holds no certificate/],
  ['a chain cut short', (stage) => stage.put('crt', second.certPem + cut), /certFile: the file ends within/],
  ['a certificate with spoilt bytes', (stage) => stage.put('crt', inside), /certFile: .* cannot be read/],
  ['an empty key', (stage) => stage.put('key', ''), /keyFile: the file holds no unencrypted private key/],
  ['an empty authority', (stage) => stage.put('ca', ''), /caFile: the file holds no certificate/],
  ['a file that is gone', (stage) => rmSync(path.join(stage.folder, 'key')), /keyFile: .* \(ENOENT\)/],
  ['a certificate of another authority', (stage) => stage.putPair(strange), /no authority of caFile has signed/],
  ['an authority of the same name', (stage) => stage.putPair(namesake), /no authority of caFile has signed/],
  ['a certificate of another node', (stage) => stage.putPair(renamed), /names node-b, not node-a/],
  ['an expired certificate', (stage) => stage.putPair(expired), /certFile: the certificate expired on/],
  ['a certificate of the future', (stage) => stage.putPair(future), /certFile: .* not valid before/],
];

for (const [name, spoil, why] of BROKEN) {
  t.test(`${name} changes nothing, and what comes after is taken`, async (t) => {
    const stage = open(t);
    spoil(stage);
    await eventually('the refusal', () => stage.lines.some((line) => why.test(line.err?.message ?? '')));
    t.equal(stage.watch.current().certPem, first.certPem);
    t.equal(stage.watch.current().keyPem, first.keyPem);
    t.equal(stage.watch.current().caPem, written(ca.certPem));
    t.same(stage.taken, []);
    stage.put('ca', ca.certPem);
    stage.putPair(second);
    await eventually('the good pair', () => stage.watch.current().certPem === second.certPem);
  });
}

t.test('a certificate of the future is taken when its time has come, without another change', async (t) => {
  const stage = open(t);
  stage.putPair(future);
  await refused(stage);
  stage.aheadDays = 3;
  await eventually('the pair', () => stage.watch.current().certPem === future.certPem);
});

t.test('an authority is rotated through a bundle of both, and an old one may stay past its end', async (t) => {
  const stage = open(t);
  const next = await createCa('next authority', now);
  const old = await createCa('old authority', now - 4000 * DAY_MS);
  const bundle = written(old.certPem, ca.certPem, next.certPem);
  // Joined as `cat` joins files of an authority that end without a line end.
  stage.put('ca', old.certPem + ca.certPem + next.certPem);
  await eventually('the bundle', () => stage.watch.current().caPem === bundle);
  const pair = await issue('node-a', next);
  stage.putPair(pair);
  await eventually('a pair of the next authority', () => stage.watch.current().certPem === pair.certPem);
  stage.put('ca', next.certPem);
  await eventually('the next authority alone', () => stage.watch.current().caPem === written(next.certPem));
  stage.put('ca', old.certPem);
  await eventually('a refusal of the expired authority', () =>
    stage.lines.some((line) => /caFile: the certificate expired/.test(line.err?.message ?? '')),
  );
  t.equal(stage.watch.current().caPem, written(next.certPem));
});

t.test('the folder behind a symbolic link is swapped, as Kubernetes and certbot do', async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'tls-links-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const lay = (name: string, pair: PemPair): string => {
    const folder = path.join(root, name);
    mkdirSync(folder);
    for (const [file, text] of Object.entries({ ca: ca.certPem, crt: pair.certPem, key: pair.keyPem }))
      writeFileSync(path.join(folder, file), text);
    return folder;
  };
  const swap = (target: string): void => {
    symlinkSync(target, path.join(root, 'new'));
    renameSync(path.join(root, 'new'), path.join(root, 'data'));
  };
  swap(lay('one', first));
  const mount = path.join(root, 'mount');
  mkdirSync(mount);
  for (const name of ['ca', 'crt', 'key']) symlinkSync(path.join(root, 'data', name), path.join(mount, name));
  const stage = open(t, { folder: mount });
  swap(lay('two', second));
  await eventually('the pair behind the link', () => stage.watch.current().certPem === second.certPem);
  t.same(stage.outcomes, ['loaded'], 'no half of it was seen');
  cpSync(path.join(root, 'one'), path.join(root, 'three'), { recursive: true, preserveTimestamps: true });
  swap(path.join(root, 'three'));
  await eventually('a copy with old times', () => stage.watch.current().certPem === first.certPem);
});

t.test('an end that comes near is told once a day, and at once of a new certificate', async (t) => {
  const stage = open(t);
  await looks(stage);
  t.same(stage.lines, []);
  const about = (level: string): number =>
    stage.lines.filter((line) => line.level === level && line.text.startsWith('the certificate in use')).length;
  stage.aheadDays = 820;
  await eventually('a warning', () => about('warn') === 1);
  await looks(stage);
  t.equal(about('warn'), 1);
  t.match(stage.lines[0], { text: /expires in less than 7 days/, certificate: 'agent' });
  stage.aheadDays = 821.5;
  await eventually('another warning', () => about('warn') === 2);
  stage.aheadDays = 826;
  await eventually('an error', () => about('error') === 1);
  t.match(stage.lines.at(-1)?.text, /has expired/);
  stage.putPair(await issue('node-a', ca, now + 4 * DAY_MS));
  await eventually('a warning about the new one', () => about('warn') === 3);
});

t.test('without a file of an authority only the pair is looked at', async (t) => {
  const stage = open(t, { withCa: false });
  stage.putPair(second);
  await eventually('the new pair', () => stage.watch.current().certPem === second.certPem);
  t.equal(stage.watch.current().caPem, '');
});

t.test('a chain is followed to its authority', async (t) => {
  const stage = open(t);
  stage.put('crt', second.certPem + ca.certPem);
  stage.put('key', second.keyPem);
  await eventually('the chain', () => stage.taken.length === 1);
});
