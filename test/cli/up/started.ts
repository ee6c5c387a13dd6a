/** What the tests of `sophia up` share: a fleet in a folder of its own, what it printed, and what is left of it. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import type { Child } from '../../support/child.ts';
import { type Home, startSophia } from '../sophia.ts';

const READY_MS = 60_000;
export const PORTS = ['--http-port', '0', '--grpc-port', '0', '--fleet-port', '0'];

export interface Banner {
  readonly url: string;
  readonly key: string;
  readonly model: string;
  readonly curl: string;
  readonly engine: string;
  readonly httpPort: number;
}

export function up(owner: Parameters<typeof startSophia>[0], home: Home, ...args: string[]): Child {
  return startSophia(owner, home, [
    '--json',
    'up',
    '--engine',
    'sim',
    ...PORTS,
    '--data-dir',
    path.join(home.root, 'd'),
    ...args,
  ]);
}

export async function ready(child: Child): Promise<Banner> {
  const [line] = await child.waitFor(/^\{"url".*\}$/m, READY_MS);
  return JSON.parse(line) as Banner;
}

/** Processes whose command line names the folder of this test, whoever their parent is by now. */
export function left(home: Home): string[] {
  const { stdout } = spawnSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' });
  return stdout.split('\n').filter((line) => line.includes(home.root));
}
