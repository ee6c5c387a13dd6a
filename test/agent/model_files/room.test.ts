/** The disk and the host around a fetch: budget and eviction, a full disk, one agent at a time, bandwidth, shared folders. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { realDisk } from '../../../agent/adapters/model_files/disk.ts';
import { createCredentials } from '../../../agent/adapters/model_files/credentials.ts';
import { FetchFailure } from '../../../agent/adapters/model_files/fetch_failure.ts';
import type { ModelSource } from '../../../agent/core/model_files/source.ts';
import { type SourceFile, sumOf } from '../../../bench/models/source_server.ts';
import { until } from '../../support/waits.ts';
import { address, credentials, hub, place, source, temporary } from './place.ts';

const KIB = 1024;
const shelves = (folder: string): string[] => readdirSync(folder).filter((name) => !name.startsWith('.sophia-'));
const fileOf = (name: string, seed: number, bytes = 100 * KIB): SourceFile => ({ path: name, bytes, seed });

/** One-file models of 100 KiB over HTTPS. */
async function several(t: Parameters<typeof source>[0]) {
  const files = ['a', 'b', 'c', 'd'].map((name, index) => fileOf(`${name}.gguf`, index + 1));
  const server = await source(t, { files: () => files });
  const sources = files.map((file) => address(`${server.url}/files/${file.path}`, { [file.path]: sumOf(file) }));
  return { server, sources: sources as [ModelSource, ModelSource, ModelSource, ModelSource] };
}

t.test('within its budget a model that nothing wants makes room, the least recently wanted first', async (t) => {
  const { sources } = await several(t);
  const here = await place(t, { budgetBytes: 250 * KIB });
  const [a, b, c, d] = sources;
  const old = (await here.bring(a)).path;
  const newer = (await here.bring(b)).path;
  // Both were wanted within a moment; the clock of a file tells them apart only by chance.
  await here.bring(c);
  t.notOk(existsSync(old));
  t.ok(existsSync(newer));
  here.models.setWanted([b, c, d]);
  await until(() => /missing on the budget/.test((here.state(d) as { message?: string }).message ?? ''), 'no room');
  t.same([here.state(b).kind, here.state(c).kind], ['ready', 'ready'], 'what is wanted stays');
  here.models.setWanted([c, d]);
  await until(() => here.state(d).kind === 'ready', 'room once it is not wanted any more');
  t.notOk(existsSync(newer));
  const tight = await place(t, { budgetBytes: 50 * KIB });
  t.match(await tight.failed(a), /more than the whole budget/);
});

t.test('a disk that is full is waited for, and what is there already is kept', async (t) => {
  let left = 60 * KIB;
  const full = {
    ...realDisk,
    write(...of: Parameters<typeof realDisk.write>) {
      const bytes = of[1].reduce((sum, { length }) => sum + length, 0);
      if (bytes > left)
        return Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC', syscall: 'write' }));
      left -= bytes;
      return realDisk.write(...of);
    },
  };
  const files = [fileOf('w.safetensors', 1)];
  const server = await source(t, { files: () => files });
  const here = await place(t, { hubUrl: server.url, disk: full, connections: 1, partBytes: 32 * KIB });
  here.models.setWanted([hub()]);
  await until(() => here.log.some(({ fields }) => fields['kind'] === 'disk_full'), 'the full disk');
  t.match(here.models.readings(), [{ state: 'waiting', message: /disk of the models is full/ }]);
  left = Number.POSITIVE_INFINITY;
  await here.bring(hub());
  t.ok(server.sentBytes() < 2 * 100 * KIB, 'the parts that were there are not fetched again');

  const crowded = { ...realDisk, freeBytes: () => Promise.resolve(300 * 1024 * KIB) };
  const large = await source(t, { files: () => [fileOf('w.safetensors', 1, 100 * 1024 * KIB)] });
  const short = await place(t, { hubUrl: large.url, disk: crowded });
  short.models.setWanted([hub()]);
  await until(
    () => /missing on the disk/.test((short.state(hub()) as { message?: string }).message ?? ''),
    'too little room',
  );
  t.equal(large.sentBytes(), 0, 'nothing is begun that has no room');
});

t.test('the folder belongs to one agent at a time, and the next one gets it when the first stops', async (t) => {
  const { sources } = await several(t);
  const [a] = sources;
  const first = await place(t);
  await first.bring(a);
  const second = await place(t, { folder: first.folder });
  second.models.setWanted([a]);
  t.match(second.state(a), { kind: 'busy', message: /Another agent holds/ });
  await first.models.stop();
  await until(() => second.state(a).kind === 'ready', 'the folder', 20_000);
});

t.test('a folder that cannot be made is told, and stops nothing else', async (t) => {
  const file = path.join(temporary(t), 'file');
  writeFileSync(file, '');
  const here = await place(t, { folder: path.join(file, 'models') });
  here.models.setWanted([hub()]);
  await until(() => /cannot be made/.test((here.state(hub()) as { message?: string }).message ?? ''), 'the trouble');
  t.match(here.state(hub()), { kind: 'busy', message: /cannot be made \(ENOTDIR\)/ });
  t.same(here.models.readings(), []);
});

t.test('an agent that needs no models makes no folder for them', async (t) => {
  const here = await place(t);
  here.models.setWanted([]);
  t.notOk(existsSync(here.folder));
  t.same(here.models.readings(), []);
});

t.test('a model that is wanted again at once goes on where it was', async (t) => {
  const files = [fileOf('w.safetensors', 1, 600 * KIB)];
  const slowly = { kind: 'slow' as const, bytes: 8 * KIB };
  const server = await source(t, { files: () => files, fault: () => slowly });
  const here = await place(t, { hubUrl: server.url });
  here.models.setWanted([hub()]);
  await until(() => server.sentBytes() > 100 * KIB, 'a part');
  here.models.setWanted([]);
  here.models.setWanted([hub()]);
  slowly.bytes = 1000 * KIB;
  await here.bring(hub());
  t.ok(server.sentBytes() < 900 * KIB, `${server.sentBytes()} bytes`);
});

t.test('the bandwidth of the host is one for all models', async (t) => {
  const { sources, server } = await several(t);
  const here = await place(t, { bandwidth: 400 * KIB });
  const startMs = performance.now();
  here.models.setWanted(sources.slice(0, 2));
  await until(() => sources.slice(0, 2).every((one) => here.state(one).kind === 'ready'), 'both');
  const seconds = (performance.now() - startMs) / 1000;
  t.ok(seconds > 0.25, `${server.sentBytes()} bytes in ${seconds} s`);
});

t.test('a fetch that is no longer wanted ends; its parts are kept for a day and then removed', async (t) => {
  const files = [fileOf('w.safetensors', 1, 600 * KIB)];
  const server = await source(t, { files: () => files, fault: () => ({ kind: 'slow', bytes: 4 * KIB }) });
  const here = await place(t, { hubUrl: server.url });
  here.models.setWanted([hub()]);
  await until(() => server.sentBytes() > 60 * KIB, 'a part');
  t.match(here.state(hub()), { kind: 'busy', message: /^model \d+ %, / });
  here.models.setWanted([]);
  t.match(here.state(hub()), { kind: 'busy', message: /not asked for/ });
  const work = path.join(here.folder, '.sophia-fetch');
  t.equal(readdirSync(work).length, 1);
  await here.models.stop();
  mkdirSync(path.join(here.folder, '.sophia-trash-1-1'));
  mkdirSync(path.join(here.folder, 'of-a-person'));
  const { utimes } = await import('node:fs/promises');
  await utimes(path.join(work, readdirSync(work)[0] as string), 1, 1);
  const next = await place(t, { folder: here.folder });
  t.same(readdirSync(work), []);
  t.same(shelves(next.folder), ['of-a-person'], 'what people put there stays');
  t.notOk(existsSync(path.join(here.folder, '.sophia-trash-1-1')));
});

t.test('files on this host or on a share are used where they are, checked where sums are given', async (t) => {
  const share = temporary(t);
  writeFileSync(path.join(share, 'm.gguf'), 'GGUF....');
  const here = await place(t);
  const sum = '1a9b';
  const one = address(`file://${share}/m.gguf`);
  t.match(await here.bring(one), { path: path.join(share, 'm.gguf'), files: ['m.gguf'] });
  t.match((await here.bring(address(`file://${share}`))).files, ['m.gguf']);
  t.match(await here.failed(address(`file://${share}`, { 'm.gguf': sum.padEnd(64, '0') })), /m\.gguf has wrong bytes/);
  const absent = address(`file://${share}/none`);
  here.models.setWanted([absent]);
  await until(
    () => /does not exist on this host/.test((here.state(absent) as { message?: string }).message ?? ''),
    'it is missed',
  );
  t.match(here.models.readings(), [{ state: 'waiting', source: absent.url }]);
});

t.test('what a source changed into is what is published, without files of its older self', async (t) => {
  let files = [fileOf('a.safetensors', 1), fileOf('old.safetensors', 5), fileOf('b.safetensors', 2)];
  let fetched = 0;
  const server = await source(t, {
    files: () => files,
    fault({ range }, { path: name }) {
      // Its size is asked of each file first.
      if (range === 'bytes=0-0') return undefined;
      fetched += 1;
      // After two files the source is another one: the second is gone, the first is different with the same size.
      if (name !== 'b.safetensors') return undefined;
      files = [fileOf('a.safetensors', 9), fileOf('c.safetensors', 3)];
      return { kind: 'status', status: 404 };
    },
  });
  const here = await place(t, { connections: 1 });
  const { path: folder, files: names } = await here.bring(address(`${server.url}/files/`));
  t.same([...names].sort(), ['a.safetensors', 'c.safetensors']);
  t.same(
    readdirSync(folder)
      .filter((name) => !name.startsWith('.'))
      .sort(),
    ['a.safetensors', 'c.safetensors'],
  );
  t.ok(fetched >= 4);
  const bytes = readFileSync(path.join(folder, 'a.safetensors'));
  t.equal(createHash('sha256').update(bytes).digest('hex'), sumOf(fileOf('a.safetensors', 9)));
});

t.test('credentials: what is wrong with them is told without their content', async (t) => {
  const loose: string[] = [];
  const of = (file: string, environment = {}) =>
    createCredentials({ file, environment, onLoose: (name) => loose.push(name) });
  const url = new URL('https://hub.example/x');
  const token = { file: path.join(temporary(t), 'none') };
  for (const [content, words] of [
    [{ hosts: { 'hub.example': { token } } }, /file of a token/],
    [{ hosts: { 'hub.example': { token: { env: 'NONE' } } } }, /NONE is not in the environment/],
    [{ hosts: { 'hub.example': { token: 'secret-canary' } } }, /hosts\.hub\.example\.token/],
    [{ hosts: { 'hub.example': { token: { value: 'secret-canary', env: 'X' } } } }, /not as it should be/],
  ] as const) {
    const error = await of(credentials(t, content))
      .bearerFor(url)
      .catch((thrown: unknown) => thrown);
    t.ok(error instanceof FetchFailure);
    t.match((error as Error).message, words);
    t.notMatch((error as Error).message, /canary/);
  }
  const good = credentials(t, { hosts: { 'hub.example': { token: { value: 'x' } } } });
  t.same(await of(good).bearerFor(url), { authorization: 'Bearer x' });
  t.same(await of(good).bearerFor(new URL('http://hub.example/x')), {}, 'never in the clear');
  t.same(await of(good).bearerFor(new URL('https://hub.example:8443/x')), {}, 'another port is another host');
  t.same(await of(good).s3For('b'), { region: 'us-east-1' });
  const open = credentials(t, {});
  (await import('node:fs')).chmodSync(open, 0o644);
  await of(open).bearerFor(url);
  t.same(loose, [open]);
  writeFileSync(open, '{ no: [yaml');
  t.match(
    await of(open)
      .bearerFor(url)
      .catch((thrown: unknown) => thrown),
    { message: /not YAML/ },
  );
});
