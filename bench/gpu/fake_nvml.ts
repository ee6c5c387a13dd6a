/**
 * The false NVML for benchmarks and tests: compiles it and the real addon with the system's C compiler, once per version of their
 * sources, and gives each user a library of its own with a scenario that can be rewritten at any moment.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../lib/io/package_root.ts';
import { addonPath } from '../../native/contract.ts';

const root = packageRoot();
const FLAGS = ['-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC'];

const filesOf = (folder: string, end: RegExp): string[] =>
  readdirSync(join(root, folder))
    .filter((name) => end.test(name))
    .toSorted()
    .map((name) => join(root, folder, name));

/** Compiles to a name of its own and renames, so that tests that run side by side never load half a file. */
export function compile(output: string, args: readonly string[]): void {
  mkdirSync(dirname(output), { recursive: true });
  const draft = `${output}.${process.pid}`;
  try {
    execFileSync('cc', [...args, '-o', draft], { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new Error('The false NVML needs a C compiler named cc: install gcc or clang.', { cause });
  }
  renameSync(draft, output);
}

/** Builds the addon where it is absent or older than its sources. */
export function ensureAddon(): string {
  const output = addonPath();
  const sources = filesOf('native/addon', /\.[ch]$/);
  const builtAtMs = existsSync(output) ? statSync(output).mtimeMs : 0;
  if (sources.every((file) => statSync(file).mtimeMs <= builtAtMs)) return output;
  const headers = join(root, 'node_modules/node-api-headers/include');
  compile(output, [...FLAGS, '-I', headers, ...sources.filter((file) => file.endsWith('.c'))]);
  return output;
}

function fakeLibrary(old: boolean): string {
  const sources = filesOf('test/native/fake_nvml', /\.[ch]$/);
  const hash = createHash('sha256');
  for (const file of [...sources, join(root, 'native/addon/nvml_abi.h')]) hash.update(readFileSync(file));
  const name = `${hash.digest('hex').slice(0, 16)}${old ? '-old' : ''}.so`;
  const output = join(root, 'build/fake_nvml', name);
  const define = old ? ['-DOLD_DRIVER'] : [];
  if (!existsSync(output)) compile(output, [...FLAGS, ...define, ...sources.filter((file) => file.endsWith('.c'))]);
  return output;
}

export interface FakeNvml {
  /** The library's path, for the setting nvmlLibrary. */
  readonly library: string;
  /** Plays this from now on; lines as in test/native/fake_nvml/README.md. */
  play(...lines: readonly string[]): void;
  /** The calls so far, `nvmlFunction gpu`, while the scenario says `log_calls`. */
  calls(): string[];
  /** Takes the library away, as an uninstalled driver would. */
  uninstall(): void;
}

/** @param folder of the user; one library in each */
export function createFakeNvml(folder: string, options: { readonly old?: boolean } = {}): FakeNvml {
  ensureAddon();
  const library = join(folder, 'libnvidia-ml.so.1');
  const scenario = `${library}.scenario`;
  symlinkSync(fakeLibrary(options.old === true), library);
  return {
    library,
    play(...lines) {
      writeFileSync(`${scenario}.draft`, `${lines.join('\n')}\n`);
      renameSync(`${scenario}.draft`, scenario);
    },
    calls() {
      return existsSync(`${scenario}.calls`) ? readFileSync(`${scenario}.calls`, 'utf8').trim().split('\n') : [];
    },
    uninstall() {
      rmSync(library);
    },
  };
}

/** A healthy GH200 as a line of a scenario; `more` overrides. */
export function gh200(index: number, more = ''): string {
  return [
    `gpu gpu=${index} uuid=GPU-${index} name=NVIDIA_GH200_480GB util=35 memory=102625181696 used=524288000 temp=31`,
    'temp_limit=87 memory_temp_limit=95 sm_mhz=1980 memory_mhz=2619 reasons=0 persistence=1 mig=0',
    more,
  ]
    .join(' ')
    .trim();
}
