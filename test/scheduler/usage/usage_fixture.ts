/** A spool in a folder of the test, rows for it, and a table that counts each batch once. */
import type { Test } from 'tap';
import { CodedError, type ErrorCode } from '../../../lib/errors.ts';
import { nodeSpoolFiles, type SpoolFiles } from '../../../scheduler/adapters/usage/spool_files.ts';
import { type SpoolOptions, UsageSpool } from '../../../scheduler/adapters/usage/spool.ts';
import type { UsageRow, UsageTable } from '../../../scheduler/core/usage/contract.ts';
import { mergeRows, sumRows } from '../../../scheduler/core/usage/tally.ts';

export const usageRow = (change: Partial<UsageRow> = {}): UsageRow => ({
  periodMs: 0,
  tenant: 'a',
  key: 'k',
  model: 'm',
  outcome: 'ok',
  servedBy: 'fleet',
  requests: 1,
  untold: 0,
  promptTokens: 5,
  cachedTokens: 2,
  completionTokens: 3,
  ...change,
});

export const requestsIn = (rows: readonly UsageRow[]): number => rows.reduce((sum, { requests }) => sum + requests, 0);

export interface SpoolFixture {
  readonly folder: string;
  /** Told of damaged segments. */
  readonly damages: string[];
  /** Another life of the scheduler on the same folder. */
  open(change?: Partial<SpoolOptions>): UsageSpool;
}

let lives = 0;

export function openFolder(t: Test): SpoolFixture {
  const folder = t.testdir();
  const damages: string[] = [];
  return {
    folder,
    damages,
    open: (change = {}) =>
      new UsageSpool({
        files: nodeSpoolFiles(folder),
        newId: () => `1-1-ab-life${++lives}`,
        isAlive: async () => false,
        maxBytes: 1_000_000,
        segmentBytes: 10_000,
        wallMs: () => Date.now(),
        damaged: (_file, what) => void damages.push(...what),
        ...change,
      }),
  };
}

/** Files that fail where the test wants it, after half of a write has reached the disk. */
export function failingFiles(files: SpoolFiles): SpoolFiles & { failWith: string | undefined } {
  const failing = {
    ...files,
    failWith: undefined as string | undefined,
    async write(name: string, at: number, bytes: Uint8Array) {
      if (failing.failWith === undefined) return files.write(name, at, bytes);
      await files.write(name, at, bytes.subarray(0, bytes.length / 2));
      throw Object.assign(new Error('no space left on device'), { code: failing.failWith });
    },
    async replace(name: string, bytes: Uint8Array) {
      if (failing.failWith !== undefined) throw Object.assign(new Error('full'), { code: failing.failWith });
      await files.replace(name, bytes);
    },
  };
  return failing;
}

export interface MemoryTable extends UsageTable {
  failWith: ErrorCode | undefined;
  /** The next batch is counted, and its answer lost. */
  loseAnswer: boolean;
  readonly rows: () => readonly UsageRow[];
  prunedBefore: number | undefined;
}

export function memoryTable(): MemoryTable {
  const settled = new Map<string, number>();
  let rows: UsageRow[] = [];
  const check = (): void => {
    if (table.failWith !== undefined) throw new CodedError(table.failWith, 'The store is away.');
  };
  const table: MemoryTable = {
    failWith: undefined,
    loseAnswer: false,
    prunedBefore: undefined,
    rows: () => rows,
    probe: async () => check(),
    async settle(batch) {
      check();
      const isNew = batch.number > (settled.get(batch.spool) ?? 0);
      if (isNew) {
        settled.set(batch.spool, batch.number);
        rows = mergeRows([...rows, ...batch.rows]);
      }
      if (table.loseAnswer) {
        table.loseAnswer = false;
        throw new CodedError('store_unavailable', 'The connection broke.');
      }
      return isNew;
    },
    async list(span, by) {
      check();
      return sumRows(rows, span, by);
    },
    async prune(beforeMs) {
      table.prunedBefore = beforeMs;
    },
  };
  return table;
}
