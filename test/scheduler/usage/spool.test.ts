/** Usage on the disk: what survives a full disk, a kill, a damaged file, and another scheduler on the same folder. */
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { nodeSpoolFiles } from '../../../scheduler/adapters/usage/spool_files.ts';
import { startChild } from '../../support/child.ts';
import { failingFiles, openFolder, requestsIn, usageRow } from './usage_fixture.ts';

/** Of a list of one key each. */
const tenants = (rows: readonly { readonly tenant: string }[]): string[] => rows.map(({ tenant }) => tenant).toSorted();

t.test('what was written is there in the next life, under the name of the one before', async (t) => {
  const { open, damages } = openFolder(t);
  const first = open();
  await first.adopt();
  for (const tenant of ['a', 'b']) t.same(await first.write([usageRow({ tenant })]), { taken: true });
  t.same(await first.write([]), { taken: true });
  t.equal(first.records, 2);
  const second = open();
  await second.adopt();
  await second.adopt();
  const [segment] = second.closed;
  t.match(segment, { spool: first.ownId, number: 1, records: 2 });
  t.equal(second.closed.length, 1);
  t.same(tenants((await second.read(segment as never)).rows), ['a', 'b']);
  await second.remove(segment as never);
  t.equal(second.bytes, 0);
  t.same(damages, []);
});

t.test('a segment of a living process is left alone, one of another place until it is quiet', async (t) => {
  const { open } = openFolder(t);
  const first = open();
  await first.write([usageRow()]).catch(() => undefined);
  const seeing = async (isAlive: boolean | undefined, wallMs = Date.now()): Promise<number> => {
    const spool = open({ isAlive: async () => isAlive, wallMs: () => wallMs });
    await spool.adopt();
    return spool.closed.length;
  };
  t.equal(await seeing(true), 0);
  t.equal(await seeing(undefined), 0);
  t.equal(await seeing(undefined, Date.now() + 60_000), 1);
  // Its writer lives after all: it begins another spool, and neither loses anything.
  const { ownId } = first;
  t.same(await first.write([usageRow({ tenant: 'late' })]), { taken: true });
  t.not(first.ownId, ownId);
  const last = open();
  await last.adopt();
  t.same(
    last.closed.map(({ records }) => records),
    [1, 1],
  );
  t.equal(requestsIn(await last.readAll()), 2);
});

t.test(
  'a full disk loses nothing: the record waits, and the half of it that was written is written over',
  async (t) => {
    const { folder, open, damages } = openFolder(t);
    const files = failingFiles(nodeSpoolFiles(folder));
    const spool = open({ files });
    await spool.adopt();
    await spool.write([usageRow()]);
    files.failWith = 'ENOSPC';
    t.match(await spool.write([usageRow({ tenant: 'b' })]), { taken: true, error: { code: 'ENOSPC' } });
    t.match(
      await spool.write([usageRow({ tenant: 'c' })]),
      { taken: false, error: { code: 'ENOSPC' } },
      'one waits at most',
    );
    await t.rejects(spool.closeOwn(), { code: 'ENOSPC' }, 'half a record is no end of a segment');
    // Killed now: the next life tells of the torn line and has the rest.
    const name = readdirSync(folder)[0] as string;
    const torn = readFileSync(path.join(folder, name));
    files.failWith = undefined;
    t.same(await spool.write([usageRow({ tenant: 'c' })]), { taken: true });
    t.same(tenants(await spool.readAll()), ['a', 'b', 'c']);
    t.same(damages, []);
    await spool.closeOwn();
    writeFileSync(path.join(folder, '1-1-ab-other.1.taken'), torn);
    const next = open();
    await next.adopt();
    t.same(tenants(await next.readAll()), ['a', 'a', 'b', 'c']);
    await next.readAll();
    t.match(damages, [/line 2 is torn/], 'told once');
  },
);

t.test('a spool that is full takes nothing but the last record of a life', async (t) => {
  const { open } = openFolder(t);
  const spool = open({ maxBytes: 50 });
  await spool.adopt();
  t.same(await spool.write([usageRow()]), { taken: true });
  t.same(await spool.write([usageRow()]), { taken: false, full: true });
  t.same(await spool.write([usageRow()], true), { taken: true });
  t.equal(requestsIn(await spool.readAll()), 2);
});

t.test('a segment that is full is closed, and shortened where it says the same again and again', async (t) => {
  const { folder, open } = openFolder(t);
  const files = failingFiles(nodeSpoolFiles(folder));
  const spool = open({ files, segmentBytes: 2000 });
  await spool.adopt();
  for (let n = 0; n < 100; n++) await spool.write([usageRow()]);
  t.ok(spool.closed.length >= 3, `${spool.closed.length} segments`);
  t.ok(spool.closed.every(({ records, bytes }) => records === 1 && bytes < 200));
  t.same(await spool.readAll().then(requestsIn), 100);
  const before = spool.closed.length;
  for (let n = 0; n < 40; n++) {
    await spool.write([usageRow({ tenant: `t${n}` })]);
    if (spool.closed.length > before) break;
  }
  const [number] = spool.closed.map((each) => each.number).slice(-1);
  t.equal(number, before + 1, 'one that has nothing to be shortened stays');
});

t.test('a file that was damaged, or is not ours, costs no more than its own lines', async (t) => {
  const { folder, open, damages } = openFolder(t);
  const first = open();
  await first.adopt();
  for (const tenant of ['a', 'b', 'c']) await first.write([usageRow({ tenant })]);
  const name = path.join(folder, readdirSync(folder)[0] as string);
  writeFileSync(name, readFileSync(name, 'utf8').replace('"b"', '"x"'));
  appendFileSync(name, Buffer.alloc(4096));
  writeFileSync(path.join(folder, 'notes.txt'), 'not ours');
  const second = open();
  await second.adopt();
  t.same(tenants(await second.readAll()), ['a', 'c']);
  t.match(damages, [/line 2/, /records 2 to 2 are missing/, /line 4 is torn/]);
});

/** A process that spools as fast as it can and says what it is sure of. */
async function killedWriter(t: Test, folder: string, killAfter: number): Promise<number> {
  const child = startChild(t, {
    args: [fileURLToPath(new URL('./spool_writer.js', import.meta.url)), folder],
  });
  await child.waitFor(new RegExp(`^sure ${killAfter}$`, 'm'), 30_000);
  child.signal('SIGKILL');
  await child.exited;
  return Math.max(...[...child.stdout().matchAll(/^sure (\d+)$/gm)].map(([, count]) => Number(count)));
}

t.test('killed in the middle of writes again and again: what was written counts, once', async (t) => {
  const { folder, open } = openFolder(t);
  let sure = 0;
  for (const killAfter of [20, 45, 70]) sure += await killedWriter(t, folder, killAfter);
  const spool = open();
  await spool.adopt();
  const found = requestsIn(await spool.readAll());
  t.ok(found >= sure, `${found} found of ${sure} that were sure`);
  t.ok(found <= sure + 3 * 2, `${found} found, at most two more in each life than ${sure} that were sure`);
});
