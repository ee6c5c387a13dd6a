/** A release archive is the same bytes whenever and by whomever it is packed, and its checksum file is sha256sum's. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packFolder, sha256Of } from '../../../cli/release/archive.ts';

/** The same content, written in another order, at another time, under another umask. */
function makeTree(root: string, names: readonly string[], mode: number, timeS: number): string {
  const folder = path.join(root, 'product-1.0');
  mkdirSync(path.join(folder, 'bin'), { recursive: true });
  for (const name of names) {
    const file = path.join(folder, name);
    writeFileSync(file, `content of ${name}`);
    chmodSync(file, name.startsWith('bin/') ? mode | 0o100 : mode);
    utimesSync(file, timeS, timeS);
  }
  return folder;
}

t.test('the same content gives the same bytes', async (t) => {
  const root = t.testdir({ one: {}, two: {}, out: {} });
  const names = ['a.txt', 'bin/run', 'z.txt'];
  const one = makeTree(path.join(root, 'one'), names, 0o644, 1000);
  const two = makeTree(path.join(root, 'two'), names.toReversed(), 0o600, 2000);
  const first = await packFolder(one, path.join(root, 'out', 'first.tar.gz'), 1_700_000_000);
  const second = await packFolder(two, path.join(root, 'out', 'second.tar.gz'), 1_700_000_000);
  t.equal(first, second);
  const other = await packFolder(two, path.join(root, 'out', 'third.tar.gz'), 1_700_000_001);
  t.not(other, first, 'the time is a part of it');
});

t.test('what is unpacked has one top folder, and only programs may be run', async (t) => {
  const root = t.testdir({ in: {}, out: {} });
  const file = path.join(root, 'out', 'product.tar.gz');
  const sum = await packFolder(makeTree(path.join(root, 'in'), ['a.txt', 'bin/run'], 0o600, 1000), file, 1_700_000_000);
  t.equal(sum, await sha256Of(file));
  t.equal(readFileSync(`${file}.sha256`, 'utf8'), `${sum}  product.tar.gz\n`);
  execFileSync('sha256sum', ['--check', '--quiet', `${file}.sha256`], { cwd: path.dirname(file) });
  execFileSync('tar', ['--extract', '--gzip', `--file=${file}`, '--strip-components=1'], {
    cwd: path.join(root, 'out'),
  });
  t.equal(statSync(path.join(root, 'out', 'a.txt')).mode & 0o777, 0o644);
  t.equal(statSync(path.join(root, 'out', 'bin', 'run')).mode & 0o777, 0o755);
  t.equal(statSync(path.join(root, 'out', 'a.txt')).mtimeMs, 1_700_000_000_000);
});

t.test('a folder that is not there is an error, and leaves no archive', async (t) => {
  const root = t.testdir();
  const file = path.join(root, 'none.tar.gz');
  await t.rejects(packFolder(path.join(root, 'absent'), file, 0), { code: 'ENOENT' });
  t.throws(() => statSync(file), { code: 'ENOENT' });
});
