/**
 * Compiles what is C in this project with the system's compiler: the keeper of engines and, where its folder is there,
 * the addon. It downloads nothing: Node's headers are those of the npm package node-api-headers. A machine without a
 * compiler is a normal case, which costs one line; what is missing then has a stand-in in TypeScript.
 *
 * Use: node native/build.mjs [--cc COMPILER] [--arch x64|arm64] [--force]
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = path.dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    cc: { type: 'string' },
    arch: { type: 'string', default: process.arch },
    force: { type: 'boolean', default: false },
  },
});
const out = path.join(here, 'out', `${process.platform}-${values.arch}`);

const COMMON = [
  '-std=c11',
  '-O2',
  '-g0',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-U_FORTIFY_SOURCE',
  '-D_FORTIFY_SOURCE=2',
  '-fstack-protector-strong',
  '-Wl,-z,relro,-z,now,-z,noexecstack',
  // Kernels for arm64 servers, GH200 among them, use pages of 64 KiB.
  ...(values.arch === 'arm64' ? ['-Wl,-z,max-page-size=65536'] : []),
];

/** What is built: a folder of C files each, into one file. */
const TARGETS = [
  { folder: 'keeper', file: 'sophia-keeper', flags: ['-fPIE', '-pie', '-pthread'], headers: false },
  { folder: 'addon', file: 'sophia.node', flags: ['-fPIC', '-shared', '-pthread', '-ldl'], headers: true },
];

const say = (line) => process.stdout.write(`native: ${line}\n`);

function compiler() {
  const wanted = values.cc === undefined ? ['cc', 'gcc', 'clang'] : [values.cc];
  return wanted.find((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0);
}

/** The folder of Node-API's headers; undefined when the package is not installed. */
function headerFolder() {
  try {
    return createRequire(import.meta.url)('node-api-headers').include_dir;
  } catch {
    return undefined;
  }
}

function sourcesOf(folder) {
  const whole = path.join(here, folder);
  if (!existsSync(whole)) return [];
  return readdirSync(whole)
    .filter((name) => /\.[ch]$/.test(name))
    .sort()
    .map((name) => path.join(whole, name));
}

/** Changes with whatever the result depends on. */
function stampOf(sources, flags, cc) {
  const hash = createHash('sha256').update(JSON.stringify(flags));
  hash.update(execFileSync(cc, ['--version']));
  for (const source of sources) hash.update(path.basename(source)).update(readFileSync(source));
  return hash.digest('hex');
}

function compile(cc, sources, flags, file) {
  // Beside the old one and then in its place: a running keeper keeps the file it was started from.
  const temporary = `${file}.${process.pid}.tmp`;
  const units = sources.filter((source) => source.endsWith('.c'));
  const libraries = flags.filter((flag) => flag.startsWith('-l'));
  const options = flags.filter((flag) => !flag.startsWith('-l'));
  const result = spawnSync(cc, [...options, '-o', temporary, ...units, ...libraries], { encoding: 'utf8' });
  if (result.status !== 0) {
    rmSync(temporary, { force: true });
    process.stderr.write(result.stderr ?? '');
    return false;
  }
  renameSync(temporary, file);
  return true;
}

function build({ folder, file, flags, headers }, cc) {
  const sources = sourcesOf(folder);
  if (sources.length === 0) return true;
  const include = headers ? headerFolder() : undefined;
  if (headers && include === undefined) {
    say(`${file} is not built: the package node-api-headers is not installed`);
    return true;
  }
  const all = [...COMMON, ...flags, ...(include === undefined ? [] : ['-DNAPI_VERSION=8', `-I${include}`])];
  const target = path.join(out, file);
  const stampFile = `${target}.stamp`;
  const stamp = stampOf(sources, all, cc);
  const isCurrent = existsSync(target) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
  if (isCurrent && !values.force) return true;
  mkdirSync(out, { recursive: true });
  if (!compile(cc, sources, all, target)) return false;
  writeFileSync(stampFile, stamp);
  say(`built ${path.relative(path.dirname(here), target)} with ${cc}`);
  return true;
}

if (process.platform === 'linux') {
  const cc = compiler();
  if (cc === undefined)
    say(
      'no C compiler: engines run under keepers on Node and GPUs are read by nvidia-smi; install gcc for the better ones',
    );
  else if (!TARGETS.map((target) => build(target, cc)).every(Boolean)) process.exitCode = 1;
} else say('the native parts are for Linux only');
