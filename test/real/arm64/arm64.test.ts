/**
 * The native parts for arm64, on a machine of another kind: cross-compiled, run by qemu, loaded by a real Node for
 * arm64, and their ELF files read for what a GH200 host with Ubuntu 22.04 and pages of 64 KiB needs.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { encodeLaunch, LIFE_FILES } from '../../../agent/core/keeper_protocol.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';

const need = (name: string): string => {
  const value = process.env[`SOPHIA_ARM64_${name}`];
  if (value === undefined) throw new Error(`SOPHIA_ARM64_${name} is unset: run this by .ci/real arm64`);
  return value;
};
const [NODE, QEMU, CC, SYSROOT] = [need('NODE'), need('QEMU'), need('CC'), need('SYSROOT')];
const native = path.join(packageRoot(), 'native');
const outOf = (arch: string, file: string): string => path.join(native, 'out', `linux-${arch}`, file);
/** Ubuntu 22.04's. */
const NEWEST_GLIBC = 2.35;
const KEEPER_LIMIT_MS = 60_000;

function run(command: string, args: readonly string[]): string {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(' ')}: ${result.stderr}${String(result.error ?? '')}`);
  return result.stdout;
}

/** The newest version of the C library that the file asks for. */
function newestGlibc(file: string): number {
  const versions = [...run('objdump', ['-T', file]).matchAll(/GLIBC_(\d+)\.(\d+)/g)].map(
    ([, major, minor]) => Number(major) + Number(minor) / 100,
  );
  return Math.max(0, ...versions);
}

t.before(() => {
  run(process.execPath, [path.join(native, 'build.mjs'), '--cc', CC, '--arch', 'arm64', '--force']);
  run(process.execPath, [path.join(native, 'build.mjs')]);
});

const built = (arch: string): string[] =>
  ['sophia-keeper', 'sophia.node'].map((file) => outOf(arch, file)).filter((file) => existsSync(file));

t.test('the files are for arm64 and lie on boundaries of 64 KiB', async (t) => {
  t.ok(built('arm64').includes(outOf('arm64', 'sophia-keeper')));
  for (const file of built('arm64')) {
    t.match(run('readelf', ['-h', file]), /Machine:\s+AArch64/, file);
    const loads = run('readelf', ['-lW', file])
      .split('\n')
      .filter((line) => /^\s+LOAD\s/.test(line));
    t.ok(loads.length >= 2);
    for (const line of loads) t.match(line, /\s0x10000$/, line);
    t.match(run('readelf', ['-lW', file]), /GNU_RELRO/);
    t.match(run('readelf', ['-dW', file]), /BIND_NOW|NOW/);
  }
});

t.test('neither they nor those for this machine ask for a newer C library than a host has', async (t) => {
  for (const file of [...built('arm64'), ...built(process.arch)]) {
    const newest = newestGlibc(file);
    t.ok(newest > 2 && newest <= NEWEST_GLIBC, `${path.relative(native, file)}: ${newest}`);
  }
});

t.test('the keeper for arm64 runs an engine and writes its end down', async (t) => {
  // Orphans are left out: qemu's user mode does not pass on that the keeper wants to be their parent.
  const cases = [
    ['echo words; exit 7', /"phase":"ended".*"exitCode":7.*"lastLines":"words\\n"/],
    ['kill -TERM $$', /"phase":"ended".*"signal":"SIGTERM"/],
  ] as const;
  for (const [script, wanted] of cases) {
    const folder = mkdtempSync(path.join(tmpdir(), 'keeper-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const launch = encodeLaunch({
      engine: 'one',
      incarnation: 1,
      specHash: 'hash',
      folder,
      output: path.join(folder, 'output.log'),
      outputMaxBytes: 1_000_000,
      tailBytes: 4096,
      lingerMs: 200,
      args: ['/bin/sh', '-c', script],
      environment: { PATH: '/usr/bin:/bin' },
    });
    writeFileSync(path.join(folder, LIFE_FILES.launch), launch);
    const keeper = spawn(QEMU, ['-L', SYSROOT, outOf('arm64', 'sophia-keeper'), folder], { stdio: 'ignore' });
    const limit = setTimeout(() => keeper.kill('SIGKILL'), KEEPER_LIMIT_MS);
    const code = await new Promise((resolve) => keeper.once('exit', resolve));
    clearTimeout(limit);
    t.equal(code, 0, script);
    t.match(readFileSync(path.join(folder, LIFE_FILES.state), 'utf8'), wanted);
  }
});

t.test('a real Node for arm64 runs here, and loads the addon where there is one', async (t) => {
  const addon = outOf('arm64', 'sophia.node');
  const program = existsSync(addon)
    ? `console.log(process.arch, Object.keys(require(${JSON.stringify(addon)})).length > 0)`
    : 'console.log(process.arch, true)';
  t.equal(run(QEMU, ['-L', SYSROOT, NODE, '-e', program]).trim(), 'arm64 true');
  t.equal(existsSync(addon), existsSync(path.join(native, 'addon')), 'an addon that has sources was built');
  t.ok(statSync(outOf('arm64', 'sophia-keeper')).size < 256 * 1024, 'the keeper is small');
});
