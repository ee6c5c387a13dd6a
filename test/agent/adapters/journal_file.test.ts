/** Journals and the agent's memory on disk: over restarts, cut writes, damage, and a disk that is full. */
import { mkdtempSync } from 'node:fs';
import { appendFile, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { createJournal } from '../../../agent/adapters/journal_file.ts';
import { createStateStore } from '../../../agent/adapters/state_file.ts';
import { EMPTY_STATE } from '../../../agent/core/agent_state.ts';
import type { JournalLimits } from '../../../agent/core/journal.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { until } from '../../support/fake_scheduler.ts';

interface Said {
  readonly said: string[];
  readonly logger: Logger;
}

function listen(): Said {
  const said: string[] = [];
  const note = (_fields: object, message: string): void => void said.push(message);
  return { said, logger: { info: note, warn: note, error: note, debug: note } as unknown as Logger };
}

function folderOf(t: { teardown: (work: () => unknown) => unknown }): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-journal-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const entry = (reason: string, engine = 'e1') => ({
  engine,
  state: 'ENGINE_STATE_READY' as const,
  reason,
  message: 'm',
});

function open(enginesFolder: string, logger: Logger, limits?: JournalLimits) {
  const more = limits === undefined ? {} : { limits };
  return createJournal({ enginesFolder, clock: systemClock, logger, retryMs: 20, ...more });
}

const reasons = (entries: readonly { reason?: string }[]) => entries.map(({ reason }) => reason);

t.test('a journal is read back by the next agent', async (t) => {
  const folder = folderOf(t);
  const { logger, said } = listen();
  const first = open(folder, logger);
  for (const reason of ['a', 'b', 'c']) first.append(entry(reason));
  first.append(entry('x', 'e2'));
  t.same(reasons(await first.read('e1')), ['a', 'b', 'c']);
  await first.flush();
  const second = open(folder, logger);
  second.append(entry('d'));
  t.same(reasons(await second.read('e1')), ['a', 'b', 'c', 'd']);
  t.same(reasons(await second.read('none')), []);
  t.same(said, []);
  await t.rejects(readFile(path.join(folder, 'none', 'journal.ndjson')), 'reading makes no folder');
});

t.test('a line that a crash cut is dropped, and the next stands alone', async (t) => {
  const folder = folderOf(t);
  const { logger, said } = listen();
  const first = open(folder, logger);
  first.append(entry('a'));
  first.append(entry('b'));
  await first.flush();
  const file = path.join(folder, 'e1', 'journal.ndjson');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.slice(0, -7));
  const second = open(folder, logger);
  second.append(entry('c'));
  t.same(reasons(await second.read('e1')), ['a', 'c']);
  await second.flush();
  t.same(reasons(await open(folder, logger).read('e1')), ['a', 'c']);
  t.same(said, [], 'which is usual and needs no warning');
});

t.test('a damaged journal is put aside and told, what is sound goes on', async (t) => {
  const folder = folderOf(t);
  const { logger, said } = listen();
  await mkdir(path.join(folder, 'e1'));
  const file = path.join(folder, 'e1', 'journal.ndjson');
  const damaged = `${JSON.stringify(entry('a'))}\n\0\0\xff{{\n${JSON.stringify(entry('b'))}\n`;
  await writeFile(file, damaged);
  const journal = open(folder, logger);
  journal.append(entry('c'));
  t.same(reasons(await journal.read('e1')), ['a', 'b', 'c']);
  t.match(said, [/damaged journal was put aside/]);
  t.equal(await readFile(`${file}.corrupt`, 'utf8'), damaged);
  t.equal((await readFile(file, 'utf8')).split('\n').length, 4);
});

t.test('a journal is bounded in memory and on disk', async (t) => {
  const folder = folderOf(t);
  const { logger } = listen();
  const journal = open(folder, logger, { maxEntries: 10, maxFileBytes: 1000 });
  for (let i = 0; i < 100; i++) {
    journal.append(entry(`r${i}`));
    await journal.flush();
  }
  t.same(reasons(await journal.read('e1')).slice(-2), ['r98', 'r99']);
  t.equal((await journal.read('e1')).length, 10);
  for (const name of ['journal.ndjson', 'journal.ndjson.1'])
    t.ok((await readFile(path.join(folder, 'e1', name))).length <= 1000);
});

t.test(
  'on a full disk entries stay in memory, are told as degraded, and are written when there is space',
  async (t) => {
    const folder = folderOf(t);
    const { logger, said } = listen();
    await mkdir(path.join(folder, 'e1'));
    const file = path.join(folder, 'e1', 'journal.ndjson');
    await symlink('/dev/full', file);
    const journal = open(folder, logger);
    journal.append(entry('a'));
    journal.append(entry('b'));
    t.same(reasons(await journal.read('e1')), ['a', 'b', 'journal_degraded']);
    t.equal(journal.degraded(), 'ENOSPC');
    await rm(file);
    await until(() => journal.degraded() === undefined, 'the journal to be written');
    t.same(reasons(await open(folder, logger).read('e1')), ['a', 'b', 'journal_degraded']);
    t.match(said, [/journal_degraded/, /written to disk again/]);
  },
);

t.test('a write that the disk took in part leaves no torn line behind once there is space', async (t) => {
  const folder = folderOf(t);
  const { logger } = listen();
  const file = path.join(folder, 'e1', 'journal.ndjson');
  const journal = open(folder, logger);
  journal.append(entry('a'));
  await journal.flush();
  await rename(file, `${file}.real`);
  await symlink('/dev/full', file);
  journal.append(entry('b'));
  t.same(reasons(await journal.read('e1')), ['a', 'b', 'journal_degraded']);
  // A disk takes what it has room for before it refuses the rest.
  await appendFile(`${file}.real`, '{"engine":"e1","sta');
  await rename(`${file}.real`, file);
  await until(() => journal.degraded() === undefined, 'the journal to be written');
  const next = listen();
  t.same(reasons(await open(folder, next.logger).read('e1')), ['a', 'b', 'journal_degraded']);
  t.same(next.said, [], 'the next agent finds no damage');
});

t.test('a folder that cannot be made degrades the journal and nothing else', async (t) => {
  const folder = folderOf(t);
  const { logger } = listen();
  await writeFile(path.join(folder, 'engines'), 'a file');
  const journal = open(path.join(folder, 'engines'), logger);
  journal.append(entry('a'));
  await journal.flush();
  t.equal(journal.degraded(), 'ENOTDIR');
  t.same(reasons(await journal.read('e1')), ['a', 'journal_degraded']);
  await journal.flush();
});

const STATE = {
  ...EMPTY_STATE,
  orders: { term: 3, generation: 9, orderedInTerm: 3 },
  desired: [
    {
      name: 'e1',
      kind: 'ENGINE_KIND_SIM' as const,
      model: 'm',
      servedModelName: '',
      gpuIds: [0],
      extraFlags: ['--seed', '1'],
      environment: { A: 'b' },
      limits: { startTimeoutMs: 5 },
    },
  ],
  nodeHold: { actor: 'ann', reason: 'r', sinceMs: 5 },
  holds: { e1: { actor: 'bob', reason: '', sinceMs: 6 } },
  starts: { k: [{ totalMs: 5, marks: { '0.4': 2 } }] },
};

const store = (file: string, logger: Logger) => createStateStore({ file, clock: systemClock, logger, retryMs: 20 });

t.test('orders, drains and starts are remembered', async (t) => {
  const file = path.join(folderOf(t), 'agent-state.json');
  const { logger, said } = listen();
  const first = store(file, logger);
  t.same(await first.load(), EMPTY_STATE);
  first.save(EMPTY_STATE);
  first.save({ ...STATE, orders: {} });
  first.save(STATE);
  await first.flush();
  t.same(await store(file, logger).load(), STATE);
  t.same(said, []);
});

t.test('a state file that cannot be understood is put aside, and the agent begins without memory', async (t) => {
  const file = path.join(folderOf(t), 'agent-state.json');
  for (const text of [
    '',
    '{',
    '[]',
    '{"version":2}',
    '{"version":1,"orders":{"term":-1},"holds":{},"starts":{}}',
    '\0\0',
  ]) {
    const { logger, said } = listen();
    await writeFile(file, text);
    t.same(await store(file, logger).load(), EMPTY_STATE, text);
    t.match(said, [/state_degraded/]);
    t.equal(await readFile(`${file}.corrupt`, 'utf8'), text);
  }
  const { logger, said } = listen();
  await rm(file, { force: true });
  await mkdir(file);
  t.same(await store(file, logger).load(), EMPTY_STATE);
  t.match(said, [/cannot be read/]);
});

t.test('on a full disk the newest state waits in memory and is written later', async (t) => {
  const file = path.join(folderOf(t), 'agent-state.json');
  const { logger, said } = listen();
  await symlink('/dev/full', `${file}.tmp`);
  const full = store(file, logger);
  full.save(EMPTY_STATE);
  await full.flush();
  t.equal(full.degraded(), 'ENOSPC');
  full.save(STATE);
  await rm(`${file}.tmp`);
  await until(() => full.degraded() === undefined, 'the state to be written');
  t.same(await store(file, logger).load(), STATE);
  t.match(said, [/state_degraded/, /written again/]);
});
