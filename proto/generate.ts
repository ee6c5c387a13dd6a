/**
 * Makes the committed types under proto/gen from the .proto files, with the options that load.ts loads them with.
 * `npm run generate` writes them; with `--check` nothing is written and a difference is exit code 1, for CI.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { packageRoot } from '../lib/io/package_root.ts';
import { PROTO_FILES } from './proto_files.ts';

const FLAGS = [
  '--longs=Number',
  '--enums=String',
  '--defaults',
  '--oneofs',
  '--arrays',
  '--importFileExtension=.ts',
  '--grpcLib=@grpc/grpc-js',
] as const;

/**
 * Runs proto-loader-gen-types over all files of PROTO_FILES into `outFolder`. It works inside the proto folder, because it
 * writes the paths of its sources into the files, and those must not depend on the machine.
 */
function generateInto(outFolder: string): void {
  const manifest = createRequire(import.meta.url).resolve('@grpc/proto-loader/package.json');
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8')) as { bin: Record<string, string> };
  const program = path.join(path.dirname(manifest), bin['proto-loader-gen-types'] as string);
  const protoFolder = path.join(packageRoot(), 'proto');
  execFileSync(process.execPath, [program, ...FLAGS, '-I', '.', '-O', outFolder, ...PROTO_FILES], {
    cwd: protoFolder,
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 60_000,
  });
}

function filesUnder(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(path.join(folder, name)).isFile())
    .sort();
}

/** Names of the files that differ between two folders, or that only one of them has. */
export function differingFiles(left: string, right: string): string[] {
  const names = new Set([...filesUnder(left), ...filesUnder(right)]);
  return [...names].sort().filter((name) => {
    const [a, b] = [path.join(left, name), path.join(right, name)];
    return !existsSync(a) || !existsSync(b) || !readFileSync(a).equals(readFileSync(b));
  });
}

/**
 * Generates the types into a temporary folder and compares them with `genFolder`.
 * @param write whether `genFolder` is replaced by what was generated
 * @returns the names of the files that differed before
 */
export function generateTypes(genFolder: string, write: boolean): string[] {
  const temporary = mkdtempSync(path.join(tmpdir(), 'sophia-proto-'));
  try {
    generateInto(temporary);
    const drift = differingFiles(temporary, genFolder);
    if (write && drift.length > 0) {
      rmSync(genFolder, { recursive: true, force: true });
      cpSync(temporary, genFolder, { recursive: true });
    }
    return drift;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function main(args: readonly string[]): number {
  const unknown = args.find((arg) => arg !== '--check');
  if (unknown !== undefined) {
    process.stderr.write(`generate: unknown argument ${unknown}; allowed: --check\n`);
    return 2;
  }
  const check = args.includes('--check');
  const drift = generateTypes(path.join(packageRoot(), 'proto', 'gen'), !check);
  if (drift.length === 0) {
    process.stdout.write('proto/gen equals the .proto files.\n');
    return 0;
  }
  const verb = check ? 'differs from the .proto files (run `npm run generate`)' : 'was written';
  process.stdout.write(`proto/gen ${verb}:\n${drift.map((name) => `  ${name}\n`).join('')}`);
  return check ? 1 : 0;
}

if (process.argv[1] === import.meta.filename) process.exitCode = main(process.argv.slice(2));
