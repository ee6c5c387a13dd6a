/**
 * What a router costs is what all its processes used: a master with workers, or a launcher in front of the program, may
 * do the work in children. Read from /proc, so that it holds for programs in any language.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { cpuUsWithChildren, rssBytes } from '../process_stats.ts';
import type { Meter } from '../relay/cells.ts';

/** Parents by process, as they are now. */
function parents(): Map<number, number> {
  const found = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readOrGone(`/proc/${name}/stat`);
    // The command may hold spaces and brackets, so fields are counted after its last bracket.
    const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (parent !== undefined) found.set(Number(name), Number(parent));
  }
  return found;
}

function readOrGone(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    // The process has ended since the folder was listed.
    return '';
  }
}

/** Asked of each process below the root; false leaves it and its children out. */
export type Belongs = (command: string) => boolean;

/** A process and all that descend from it, the root first; empty when it is gone. */
export function treeOf(root: number, belongs: Belongs = () => true): number[] {
  const all = parents();
  if (!all.has(root)) return [];
  const tree = [root];
  for (const member of tree) {
    for (const [pid, parent] of all)
      if (parent === member && belongs(readOrGone(`/proc/${pid}/cmdline`).replaceAll('\0', ' '))) tree.push(pid);
  }
  return tree;
}

/** Sums a figure over the living members; one that ends meanwhile counts 0, and its CPU is then its parent's. */
function sum(pids: readonly number[], figure: (pid: number) => number): number {
  return pids.reduce((total, pid) => {
    try {
      return total + figure(pid);
    } catch {
      // It has ended between the two looks.
      return total;
    }
  }, 0);
}

/** User and system time and resident memory of a whole tree, children that have ended included in the time. */
export function treeMeter(root: number, belongs?: Belongs): Meter {
  return {
    cpuUs: () => sum(treeOf(root, belongs), cpuUsWithChildren),
    rssBytes: () => sum(treeOf(root, belongs), (pid) => rssBytes(pid) || 0),
  };
}
