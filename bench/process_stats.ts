/**
 * CPU time and memory of other processes, from /proc: what a router costs is what its processes used, whatever the
 * noisy machine around them did.
 */
import { readFileSync } from 'node:fs';

/** Linux counts CPU time in ticks of 10 ms on every platform that Node runs on. */
const TICK_US = 10_000;

function ticks(pid: number, fields: readonly number[]): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command may hold spaces and brackets, so fields are counted after its last bracket.
  const values = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.reduce((sum, field) => sum + Number(values[field]), 0);
}

/** User and system CPU of a process with all its threads, in microseconds. */
export function cpuUs(pid: number): number {
  return ticks(pid, [11, 12]) * TICK_US;
}

/** As cpuUs, with the children that have ended. */
export function cpuUsWithChildren(pid: number): number {
  return ticks(pid, [11, 12, 13, 14]) * TICK_US;
}

/** Resident memory in bytes. */
export function rssBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

/** Value at quantile `q` (0..1) of unsorted numbers, by the nearest rank; NaN when there are none. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] as number;
}

/** Rounds for a table or JSON. */
export function round(value: number, digits = 2): number {
  return Number.isFinite(value) ? Number(value.toFixed(digits)) : value;
}
