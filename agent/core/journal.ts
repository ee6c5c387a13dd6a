/**
 * The journal of an engine as text: one JSON object a line, bounded by rotation, read back whatever a crash or a bad
 * disk made of it. A last line without its newline is a write that a crash cut, which is usual; a bad line before it is
 * damage, which is told.
 */
import type { EngineEvent } from '../../proto/gen/fleet/v1/EngineEvent.ts';

/** An entry is a transition, or something that was noticed, in the words of the protocol. */
export type JournalEntry = EngineEvent;

export interface JournalLimits {
  /** Entries that are kept in memory for each engine. */
  readonly maxEntries: number;
  /** Size at which the file is rotated; the one before is kept. */
  readonly maxFileBytes: number;
}

export const JOURNAL_LIMITS: JournalLimits = { maxEntries: 200, maxFileBytes: 256 * 1024 };

/** The newest entries, oldest first. */
export function remember(
  entries: readonly JournalEntry[],
  entry: JournalEntry,
  limits: JournalLimits,
): readonly JournalEntry[] {
  return [...entries, entry].slice(-limits.maxEntries);
}

export const journalLine = (entry: JournalEntry): string => `${JSON.stringify(entry)}\n`;

export interface ParsedJournal {
  readonly entries: readonly JournalEntry[];
  /** The last line has no end: a write that was cut. */
  readonly isTorn: boolean;
  /** Lines before the last that are no entries. */
  readonly badLines: number;
}

function parseLine(line: string): JournalEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // Not JSON: the line is counted as bad by the caller.
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const { engine, state, reason } = value as Record<string, unknown>;
  return typeof engine === 'string' && typeof state === 'string' && typeof reason === 'string' ? value : undefined;
}

export function parseJournal(text: string): ParsedJournal {
  const lines = text.split('\n');
  const last = lines.pop() ?? '';
  const entries: JournalEntry[] = [];
  let badLines = 0;
  for (const line of lines) {
    const entry = parseLine(line);
    if (entry === undefined) badLines += 1;
    else entries.push(entry);
  }
  return { entries, isTorn: last !== '', badLines };
}

/** Whether a file of this size is to be put aside before the next line. */
export const needsRotation = (fileBytes: number, lineBytes: number, limits: JournalLimits): boolean =>
  fileBytes > 0 && fileBytes + lineBytes > limits.maxFileBytes;
