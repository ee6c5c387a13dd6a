/**
 * Runs the `sophia` command as a user does: a process of its own, with folders of its own for configuration, data and
 * cache, so that a test neither reads nor writes the files of whoever runs it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Child, type ChildExit, startChild } from '../support/child.ts';

export const SOPHIA_MAIN = fileURLToPath(new URL('../../cli/main.js', import.meta.url));

interface Owner {
  teardown(task: () => unknown): void;
}

export interface Home {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Folders for one test; removed at its end. Short, because a Unix socket's path is. */
export function makeHome(owner: Owner): Home {
  const root = mkdtempSync(path.join(tmpdir(), 'sophia-cli-'));
  owner.teardown(() => rmSync(root, { recursive: true, force: true }));
  const env = {
    XDG_CONFIG_HOME: path.join(root, 'config'),
    XDG_DATA_HOME: path.join(root, 'data'),
    XDG_CACHE_HOME: path.join(root, 'cache'),
  };
  return { root, env };
}

export function startSophia(
  owner: Owner,
  home: Home,
  args: readonly string[],
  env: Record<string, string> = {},
): Child {
  return startChild(owner, { args: [SOPHIA_MAIN, ...args], env: { ...home.env, ...env } });
}

export interface Outcome extends ChildExit {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export async function sophia(
  owner: Owner,
  home: Home,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Outcome> {
  const child = startSophia(owner, home, args, env);
  const exit = await child.exited;
  return { ...exit, stdout: child.stdout(), stderr: child.stderr() };
}
