/** Starts a real agent as a child process in a temporary folder, for tests through its real doors. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { childEnv } from '../../support/child.ts';
import { removeFolder, type TestCertificates } from '../../support/fake_scheduler.ts';

export interface AgentProcess {
  readonly child: ChildProcess;
  readonly dataDir: string;
  /** Everything that the agent wrote to standard error. */
  output(): string;
  /** Resolves with the exit code, or the signal's name. */
  readonly exited: Promise<number | string>;
  stop(): Promise<number | string>;
}

const AGENT_MAIN = fileURLToPath(new URL('../../../agent/main.js', import.meta.url));

export interface AgentProcessOptions {
  readonly certificates: TestCertificates;
  readonly schedulers: readonly string[];
  readonly nodeName?: string;
  readonly flags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly dataDir?: string;
  readonly execArgv?: readonly string[];
}

export function startAgent(options: AgentProcessOptions): AgentProcess {
  const { certificates } = options;
  const dataDir = options.dataDir ?? mkdtempSync(path.join(tmpdir(), 'fleet-agent-'));
  const child = spawn(
    process.execPath,
    [
      ...(options.execArgv ?? []),
      AGENT_MAIN,
      '--node-name',
      options.nodeName ?? 'node-a',
      '--schedulers',
      options.schedulers.join(','),
      '--ca-file',
      certificates.caFile,
      '--cert-file',
      certificates.agent.certFile,
      '--key-file',
      certificates.agent.keyFile,
      '--data-dir',
      dataDir,
      '--probe-period-ms',
      '200',
      '--restart-base-ms',
      '100',
      '--restart-cap-ms',
      '200',
      '--reconnect-cap-ms',
      '500',
      ...(options.flags ?? []),
    ],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: childEnv({ HOME: dataDir, ...options.environment }),
    },
  );
  let output = '';
  child.stderr?.on('data', (piece: Buffer) => {
    output += piece.toString('utf8');
  });
  const exited = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
  return {
    child,
    dataDir,
    output: () => output,
    exited,
    async stop() {
      child.kill('SIGTERM');
      const code = await exited;
      if (options.dataDir === undefined) await removeFolder(dataDir);
      return code;
    },
  };
}
