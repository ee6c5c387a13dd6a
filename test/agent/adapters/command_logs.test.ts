/** Reading an engine's log: whole lines, across rotation, at the reader's pace, and until nobody reads any more. */
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { createLogCommands } from '../../../agent/adapters/command_logs/command_logs.ts';
import type { CommandSink } from '../../../agent/ports.ts';
import type { Command__Output } from '../../../proto/gen/fleet/v1/Command.ts';
import { eventually } from '../../support/child.ts';

interface Owner {
  teardown(task: () => unknown): void;
}

function engineFolder(owner: Owner) {
  const enginesFolder = mkdtempSync(path.join(tmpdir(), 'agent-logs-'));
  owner.teardown(() => rmSync(enginesFolder, { recursive: true, force: true }));
  mkdirSync(path.join(enginesFolder, 'e0'));
  return { enginesFolder, file: path.join(enginesFolder, 'e0', 'output.log') };
}

function recordingSink(more: Partial<CommandSink> = {}) {
  const abort = new AbortController();
  const chunks: Buffer[] = [];
  const sink: CommandSink = {
    signal: abort.signal,
    output: ({ data }) => void chunks.push(Buffer.from(data as Buffer)),
    ...more,
  };
  return { sink, abort, chunks, text: () => Buffer.concat(chunks).toString() };
}

const logs = (more: Partial<Command__Output> = {}): Command__Output =>
  ({ id: '1', verb: 'COMMAND_VERB_ENGINE_LOGS', engine: 'e0', follow: false, ...more }) as Command__Output;

const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, i) => `line ${from + i}\n`).join('');

t.test('the last lines are shown, from the rotated file too where the present one has too few', async (t) => {
  const { enginesFolder, file } = engineFolder(t);
  const runner = createLogCommands({ enginesFolder });
  const show = async (tailLines: number): Promise<string> => {
    const { sink, text } = recordingSink();
    t.match(await runner.run(logs({ tailLines }), sink), { code: '' });
    return text();
  };
  t.equal(await show(5), '', 'an engine that wrote nothing');
  writeFileSync(file, lines(100, 103));
  t.equal(await show(2), lines(101, 103));
  t.equal(await show(50), lines(100, 103));
  t.equal(await show(0), '');
  writeFileSync(`${file}.1`, lines(0, 100));
  t.equal(await show(5), lines(98, 103));
  t.equal(await show(3), lines(100, 103));
  t.equal(await show(1000), lines(0, 103));
  writeFileSync(file, `${lines(100, 103)}cut`);
  t.equal(await show(2), 'line 102\ncut', 'a last line without an end is a line');
  t.equal(await show(0), '');
  writeFileSync(file, lines(0, 200_000));
  t.equal(await show(10_000), lines(190_000, 200_000), 'looked for in blocks');
});

t.test('a log is followed across rotation, by one file and by two, and nothing is told twice', async (t) => {
  const { enginesFolder, file } = engineFolder(t);
  const { sink, abort, text } = recordingSink();
  const done = createLogCommands({ enginesFolder, pollMs: 20 }).run(logs({ follow: true, tailLines: 9 }), sink);
  writeFileSync(file, lines(0, 3));
  await eventually('the file that appears is read', () => text().includes('line 2\n'));
  appendFileSync(file, 'half a ');
  appendFileSync(file, 'line\n');
  renameSync(file, `${file}.1`);
  appendFileSync(`${file}.1`, 'written after the rename\n');
  writeFileSync(file, lines(10, 12));
  await eventually('the next file is read', () => text().includes('line 11\n'));
  appendFileSync(file, 'end of file b\n');
  renameSync(file, `${file}.1`);
  writeFileSync(file, lines(20, 22));
  await eventually('the file after it is read', () => text().includes('line 21\n'));
  abort.abort();
  t.match(await done, { code: 'cancelled' });
  const whole = `${lines(0, 3)}half a line\nwritten after the rename\n${lines(10, 12)}end of file b\n${lines(20, 22)}`;
  t.equal(text(), whole);
});

t.test('a log that was rotated faster than it was read says so, and goes on with what there is', async (t) => {
  const { enginesFolder, file } = engineFolder(t);
  writeFileSync(file, 'a\n');
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { sink, abort, text } = recordingSink({ ready: () => gate });
  const done = createLogCommands({ enginesFolder, pollMs: 20 }).run(logs({ follow: true }), sink);
  for (const name of ['b', 'c']) {
    writeFileSync(`${file}.new`, `${name}\n`);
    renameSync(file, `${file}.1`);
    renameSync(`${file}.new`, file);
  }
  open();
  await eventually('the newest file is read', () => text().endsWith('c\n'));
  abort.abort();
  await done;
  t.match(text(), /^(a\n)?(-- the log was rotated faster .*--\n)?b\nc\n$/);
});

t.test('a file that was cut short is read anew, and a missing one is waited for', async (t) => {
  const { enginesFolder, file } = engineFolder(t);
  writeFileSync(file, lines(0, 100));
  const { sink, abort, text } = recordingSink();
  const done = createLogCommands({ enginesFolder, pollMs: 20 }).run(logs({ follow: true, tailLines: 1 }), sink);
  await eventually('the tail', () => text() === 'line 99\n');
  writeFileSync(file, 'anew\n');
  await eventually('the new beginning', () => text() === 'line 99\nanew\n');
  rmSync(file);
  await new Promise((resolve) => setTimeout(resolve, 60));
  writeFileSync(file, 'later\n');
  await eventually('the new file', () => text().endsWith('later\n'));
  abort.abort();
  await done;
});

t.test('nothing is read ahead of a reader that takes nothing, and its going away ends it', async (t) => {
  const { enginesFolder, file } = engineFolder(t);
  writeFileSync(file, `${'x'.repeat(99)}\n`.repeat(20_000));
  let asked = 0;
  const abort = new AbortController();
  const never = new Promise<void>((resolve) => abort.signal.addEventListener('abort', () => resolve()));
  const chunks: Buffer[] = [];
  const sink: CommandSink = {
    signal: abort.signal,
    output: ({ data }) => void chunks.push(Buffer.from(data as Buffer)),
    ready() {
      asked += 1;
      return asked <= 2 ? Promise.resolve() : never;
    },
  };
  const done = createLogCommands({ enginesFolder }).run(logs({ tailLines: 10_000, follow: true }), sink);
  await eventually('the reader is full', () => asked === 3);
  t.ok(Buffer.concat(chunks).length <= 128 * 1024);
  for (const chunk of chunks) t.equal(chunk.at(-1), 0x0a, 'only whole lines leave');
  abort.abort();
  t.match(await done, { code: 'cancelled' });
});

t.test('bytes that are not text pass as they are, and an endless line leaves in pieces', async (t) => {
  const { enginesFolder, file } = engineFolder(t);
  const strange = Buffer.concat([Buffer.from([0xff, 0xfe, 0x0a, 0xc3]), Buffer.alloc(200_000, 0x78)]);
  writeFileSync(file, strange);
  const { sink, chunks } = recordingSink();
  t.match(await createLogCommands({ enginesFolder }).run(logs({ tailLines: 100 }), sink), { code: '' });
  t.ok(Buffer.concat(chunks).equals(strange));
  t.ok(chunks.length > 2);
  t.ok(chunks.every((chunk) => chunk.length <= 192 * 1024));
});

t.test('a flood is read no faster than the bound', async (t) => {
  const { enginesFolder, file } = engineFolder(t);
  writeFileSync(file, lines(0, 9000));
  const { sink, abort, text } = recordingSink();
  const done = createLogCommands({ enginesFolder, maxBytesPerS: 1 }).run(logs({ tailLines: 9000 }), sink);
  await eventually('the first block', () => text() !== '');
  const first = text().length;
  t.ok(first < 70_000);
  abort.abort();
  await done;
  t.equal(text().length, first);
});

t.test('a name that is no engine, or one that never ran here, is a coded result', async (t) => {
  const { enginesFolder } = engineFolder(t);
  const runner = createLogCommands({ enginesFolder });
  for (const engine of ['../e0', 'E0', '', '/etc']) {
    t.match(await runner.run(logs({ engine }), recordingSink().sink), { code: 'invalid_value', param: 'engine' });
  }
  t.match(await runner.run(logs({ engine: 'e9' }), recordingSink().sink), { code: 'not_found' });
  mkdirSync(path.join(enginesFolder, 'e1', 'output.log'), { recursive: true });
  t.match(await runner.run(logs({ engine: 'e1' }), recordingSink().sink), { code: 'internal' });
});
