/** The output of engines: rotation, floods, full disks, and reading it as one text, with real keepers. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { OutputReader } from '../../../agent/adapters/launcher/output_reader.ts';
import { connectKeeper } from '../../../agent/adapters/launcher/keeper_client.ts';
import { eventually } from '../../support/child.ts';
import { bench, KEEPERS, PATIENCE_MS, under } from './support.ts';

const sizeOf = (file: string): number => (existsSync(file) ? statSync(file).size : 0);

const LINES = 40_000;
const MAX_BYTES = 64 * 1024;

/** Bytes that the keeper of the first life says it has dropped. */
async function dropped(root: string): Promise<number> {
  const keeper = await connectKeeper(path.join(root, 'one', 'life-1'), PATIENCE_MS);
  keeper?.client.close();
  return keeper?.greeting.droppedBytes ?? -1;
}

interface Disk {
  /** Where the engines' folder goes. */
  readonly folder: string;
  /** Whether it is full for everyone, or only for the keeper. */
  readonly isForAll: boolean;
  fill(keeperPid: number, file: string): void;
  empty(keeperPid: number): void;
}

/** A small disk of its own where this user may mount one, else a limit on the size of the keeper's files. */
function smallDisk(t: { teardown(task: () => unknown): void }): Disk {
  const folder = mkdtempSync(path.join(tmpdir(), 'disk-'));
  const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', folder]).status === 0;
  t.teardown(() => {
    if (isMounted) execFileSync('umount', ['--lazy', folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  const filler = path.join(folder, 'filler');
  const limit = (pid: number, size: string): void =>
    void execFileSync('prlimit', ['--pid', String(pid), `--fsize=${size}`]);
  if (!isMounted)
    return {
      folder,
      isForAll: false,
      fill: (pid, file) => limit(pid, String(sizeOf(file))),
      empty: (pid) => limit(pid, 'unlimited'),
    };
  return {
    folder,
    isForAll: true,
    fill() {
      // Ends with the disk's refusal, page by page so that not even a small file finds room.
      for (let pages = 0; pages < 1024; pages++)
        try {
          appendFileSync(filler, Buffer.alloc(4096));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return;
          throw error;
        }
    },
    empty: () => rmSync(filler),
  };
}

for (const kind of KEEPERS) {
  t.test(...under(kind, 'a flood of output is held to two files and never holds up the engine'), async (t) => {
    const { launch, root } = bench(t, kind, { outputMaxBytes: MAX_BYTES });
    const engine = await launch(`seq 1 ${LINES}; echo the end`);
    const exit = await engine.exited;
    t.match(exit, { exitCode: 0, lastLines: new RegExp(`\n${LINES}\nthe end\n$`) });
    t.ok((exit.lastLines ?? '').length <= 16 * 1024, 'the last lines are bounded');
    t.match(exit.lastLines, /^\d+\n/, 'and begin with a whole line');
    const file = path.join(root, 'one', 'output.log');
    t.ok(sizeOf(file) + sizeOf(`${file}.1`) <= 2 * MAX_BYTES + 256 * 1024, 'the files are bounded');
    t.ok(sizeOf(file) > 0);
    t.match(readFileSync(file, 'utf8').slice(-40), /the end\n$/, 'the end of it is kept');
  });

  t.test(...under(kind, 'what an engine writes slowly is read whole, across rotations'), async (t) => {
    const { launch, launcher, root } = bench(t, kind, { outputMaxBytes: MAX_BYTES });
    const file = path.join(root, 'one', 'output.log');
    const engine = await launch(
      'for part in 1 2 3 4 5; do seq 1 8000; until [ -e go$part ]; do sleep 0.02; done; done',
    );
    const { nextByte } = await launcher.readOutput(file, Number.MAX_SAFE_INTEGER, 0);
    t.ok(nextByte >= 0);
    let text = '';
    let at = 0;
    for (let part = 1; part <= 5; part++) {
      await eventually(
        `part ${part} is there`,
        async () => {
          const piece = await launcher.readOutput(file, at, 1_000_000);
          at = piece.nextByte;
          text += piece.text;
          return text.split('\n8000\n').length === part + 1;
        },
        PATIENCE_MS,
      );
      writeFileSync(path.join(root, 'one', `go${part}`), '');
    }
    await engine.exited;
    const once = `${Array.from({ length: 8000 }, (_, index) => index + 1).join('\n')}\n`;
    t.ok(text === once.repeat(5), 'nothing is missing and nothing comes twice');
    t.ok(existsSync(`${file}.1`), 'and there was a rotation');
  });

  t.test(...under(kind, 'a full disk neither stops an engine nor hides its end; logging goes on later'), async (t) => {
    const disk = smallDisk(t);
    const { launch, root, another } = bench(t, kind, { under: disk.folder });
    const engine = await launch(
      'echo begin; until [ -e full ]; do sleep 0.02; done; seq 1 20000; until [ -e room ]; do sleep 0.02; done; ' +
        'echo after; until [ -e stop ]; do sleep 0.02; done; exit 5',
    );
    const file = path.join(root, 'one', 'output.log');
    await eventually('it writes', () => sizeOf(file) > 0, PATIENCE_MS);
    disk.fill(engine.keeperPid, file);
    writeFileSync(path.join(root, 'one', 'full'), '');
    await eventually('bytes are dropped', async () => (await dropped(root)) > 0, PATIENCE_MS);
    t.ok((await engine.processes()).includes(engine.pid), 'the engine lives');
    if (disk.isForAll) await t.rejects(another().nextIncarnation('one'), { code: 'storage_failed', message: /ENOSPC/ });
    disk.empty(engine.keeperPid);
    writeFileSync(path.join(root, 'one', 'room'), '');
    await eventually(
      'it is logged again',
      () => /missing here\n[^]*after\n$/.test(readFileSync(file, 'utf8')),
      PATIENCE_MS,
    );
    disk.fill(engine.keeperPid, file);
    writeFileSync(path.join(root, 'one', 'stop'), '');
    t.match(await engine.exited, { exitCode: 5, lastLines: /20000\nafter\n$/ });
  });

  t.test(...under(kind, 'an output file that is no file is not written, and the engine runs'), async (t) => {
    const { launch } = bench(t, kind);
    const engine = await launch('echo words; exit 6', { outputFile: '/dev/full' });
    t.match(await engine.exited, { exitCode: 6, lastLines: 'words\n' });
  });
}

function folderFor(t: { teardown(task: () => unknown): void }): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'output-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, 'output.log');
}

t.test('positions go on across rotations, and what is gone is left out', async (t) => {
  const file = folderFor(t);
  const reader = new OutputReader();
  t.same(await reader.read(file, 0, 100), { text: '', nextByte: 0 }, 'nothing is there yet');
  writeFileSync(file, 'first ');
  t.same(await reader.read(file, 0, 100), { text: 'first ', nextByte: 6 });
  linkSync(file, `${file}.1`);
  t.same(await reader.read(file, 6, 100), { text: '', nextByte: 6 }, 'one file under both names, in the middle of it');
  rmSync(`${file}.1`);
  appendFileSync(file, 'second ');
  renameSync(file, `${file}.1`);
  t.same(await reader.read(file, 6, 100), { text: 'second ', nextByte: 13 }, 'between the two steps of a rotation');
  writeFileSync(file, 'third');
  t.same(await reader.read(file, 3, 100), { text: 'st second third', nextByte: 18 });
  t.same(await reader.read(file, 3, 7), { text: 'd third', nextByte: 18 }, 'the newest bytes when it is too much');
  t.same(await reader.read(file, 18, 100), { text: '', nextByte: 18 });
  renameSync(file, `${file}.1`);
  writeFileSync(file, 'fourth');
  renameSync(file, `${file}.1`);
  writeFileSync(file, 'fifth');
  t.same(await reader.read(file, 18, 100), { text: 'fourthfifth', nextByte: 29 }, 'after two rotations unseen');
  truncateSync(file, 0);
  appendFileSync(file, 'new');
  t.same(await reader.read(file, 29, 100), { text: 'new', nextByte: 32 }, 'after someone has emptied the file');
  t.same(await reader.read(file, Number.MAX_SAFE_INTEGER, 0), { text: '', nextByte: 32 }, 'asked for the end');
});

t.test('a first look counts from the oldest file that is there', async (t) => {
  const file = folderFor(t);
  writeFileSync(`${file}.1`, 'old ');
  writeFileSync(file, 'new');
  t.same(await new OutputReader().read(file, 0, 100), { text: 'old new', nextByte: 7 });
  t.same(await new OutputReader().read(file, 5, 100), { text: 'ew', nextByte: 7 });
});
