/**
 * `npm run release`: what a host needs, in one folder. Per architecture an archive of the product with its production
 * packages inside, the pinned Node, a checksum beside each, and release.json, by which deploy/ansible finds them. Hosts
 * then need neither a package registry nor a compiler.
 *
 * Usage: npm run release -- [--arch x64,arm64] [--out FOLDER]
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { packageRoot, packageVersion } from '../../lib/io/package_root.ts';
import { packFolder, writeChecksum } from './archive.ts';

const run = promisify(execFile);

/** The Node that hosts run; the npm packages node-linux-ARCH carry the official binaries. */
const NODE_VERSION = '20.20.2';
const ARCHITECTURES = ['x64', 'arm64'] as const;
type Architecture = (typeof ARCHITECTURES)[number];

const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const root = packageRoot();
/** The compiled code that this file is a part of, wherever it was compiled to. */
const compiled = fileURLToPath(new URL('../..', import.meta.url));

/** What goes into an archive as it lies in the tree. */
const PARTS = [
  'package.json',
  'package-lock.json',
  'proto',
  'scheduler/adapters/store/migrations',
  'docs',
  'README.md',
  'CHANGELOG.md',
  'LICENSE',
] as const;
/** What of the compiled code no host needs. */
const DEVELOPMENT = ['test', 'cli/release', 'cli/generate'];

interface Built {
  readonly archive: string;
  readonly sha256: string;
  readonly nodeArchive: string;
  readonly nodeSha256: string;
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  );

const say = (text: string): void => void process.stderr.write(`release: ${text}\n`);

function parseArchitectures(text: string): Architecture[] {
  const names = text.split(',');
  const unknown = names.find((name) => !ARCHITECTURES.includes(name as Architecture));
  if (unknown !== undefined) throw new Error(`"${unknown}" is no architecture; allowed: ${ARCHITECTURES.join(', ')}.`);
  return names as Architecture[];
}

/** The time of the commit, so that building it again gives the same bytes; outside a checkout that of package.json. */
async function sourceTimeS(): Promise<number> {
  try {
    const { stdout } = await run('git', ['-C', root, 'log', '-1', '--format=%ct']);
    return Number(stdout.trim());
  } catch {
    return Math.floor((await stat(path.join(root, 'package.json'))).mtimeMs / 1000);
  }
}

async function copyParts(folder: string, arch: Architecture): Promise<void> {
  for (const part of PARTS) await cp(path.join(root, part), path.join(folder, part), { recursive: true });
  await cp(compiled, path.join(folder, 'build'), {
    recursive: true,
    filter: (source) => !DEVELOPMENT.includes(path.relative(compiled, source)),
  });
  const native = path.join('native', 'out', `linux-${arch}`);
  if (await exists(path.join(root, native))) {
    await cp(path.join(root, native), path.join(folder, native), { recursive: true });
  } else say(`no native parts for ${arch} in ${native}: the agent falls back to programs of the host`);
}

/** Packages by the lockfile, for the target and not for this machine; their scripts would build for this machine. */
async function installPackages(folder: string, arch: Architecture): Promise<void> {
  const target = ['--os=linux', `--cpu=${arch}`, '--libc=glibc'];
  const args = ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', ...target];
  await run('npm', args, { cwd: folder, maxBuffer: MAX_OUTPUT_BYTES });
  // npm's own note of what it installed carries times.
  await rm(path.join(folder, 'node_modules', '.package-lock.json'), { force: true });
}

async function fetchNode(out: string, arch: Architecture, scratch: string): Promise<string> {
  const target = path.join(out, `node-v${NODE_VERSION}-linux-${arch}.tgz`);
  if (!(await exists(target))) {
    const { stdout } = await run('npm', ['pack', '--silent', `node-linux-${arch}@${NODE_VERSION}`], { cwd: scratch });
    const packed = stdout.trim().split('\n').at(-1) as string;
    await cp(path.join(scratch, packed), `${target}.partial`);
    await rename(`${target}.partial`, target);
  }
  return target;
}

async function buildOne(out: string, arch: Architecture, mtimeS: number): Promise<Built> {
  const scratch = await mkdtemp(path.join(tmpdir(), 'sophia-release-'));
  try {
    const name = `sophia-fleet-${packageVersion()}-linux-${arch}`;
    const folder = path.join(scratch, name);
    await mkdir(folder);
    await copyParts(folder, arch);
    say(`installing the packages for ${arch}`);
    await installPackages(folder, arch);
    const archive = path.join(out, `${name}.tar.gz`);
    const sha256 = await packFolder(folder, archive, mtimeS);
    const nodeArchive = await fetchNode(out, arch, scratch);
    const nodeSha256 = await writeChecksum(nodeArchive);
    return { archive: path.basename(archive), sha256, nodeArchive: path.basename(nodeArchive), nodeSha256 };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      arch: { type: 'string', default: ARCHITECTURES.join(',') },
      out: { type: 'string', default: path.join(root, 'build-release') },
    },
  });
  const architectures = parseArchitectures(values.arch);
  const out = path.resolve(values.out);
  await mkdir(out, { recursive: true });
  const mtimeS = await sourceTimeS();
  const built: Partial<Record<Architecture, Built>> = {};
  for (const arch of architectures) built[arch] = await buildOne(out, arch, mtimeS);
  const manifest = { version: packageVersion(), nodeVersion: NODE_VERSION, architectures: built };
  await writeFile(path.join(out, 'release.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify({ out, ...manifest })}\n`);
}

try {
  await main();
} catch (error) {
  const { message, stderr } = error as Error & { stderr?: string };
  process.stderr.write(`release: ${message}\n${stderr ?? ''}`);
  process.exitCode = 1;
}
