/**
 * What the command line prints: a table for a person, or with --json one JSON object as the last line of stdout.
 * Cells are plain text; nothing that came from a remote side may move the cursor, so control characters are cut.
 */

export type Cell = string | number | boolean | undefined;

/** How a command prints. `json` is the global --json flag. */
export interface Printer {
  readonly json: boolean;
  /** Prints `object` as JSON, or calls `human` to get the text for a person. */
  result(object: unknown, human: () => string): void;
  /** A line for a person only; silent with --json. */
  line(text: string): void;
  /** Text as it is, for streams; resolves when the reader of standard output has room for more. */
  stream(text: string): Promise<void>;
}

// oxlint-disable-next-line no-control-regex -- control characters are exactly what is to be cut.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Text that came from elsewhere, safe to show on a terminal. */
export function printable(text: string): string {
  return text.replace(CONTROL, '');
}

// oxlint-disable-next-line no-control-regex -- the escape sequences of a terminal begin with one.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

/** A line of a foreign log without its colours and whatever else would move the cursor. */
export function plainLine(text: string): string {
  return printable(text.replace(ESCAPES, ''));
}

/** A bar for a person, such as `[#####---------------] 25 %`. */
export function barText(ratio: number, width = 20): string {
  const part = Math.min(1, Math.max(0, ratio));
  const filled = Math.round(part * width);
  return `[${'#'.repeat(filled)}${'-'.repeat(width - filled)}] ${Math.round(part * 100)} %`;
}

/** A duration for a person, such as 12 s or 4 min. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

/** The protobuf library marks which optional fields are set by a twin such as `_atMs`; a reader of JSON sees that anyway. */
export function withoutMarkers(this: unknown, key: string, value: unknown): unknown {
  return key.startsWith('_') ? undefined : value;
}

/** @param write resolves when there is room for more; who prints little need not wait for it */
export function createPrinter(json: boolean, write: (text: string) => Promise<void> | void): Printer {
  return {
    json,
    result(object, human) {
      void write(`${json ? JSON.stringify(object, withoutMarkers) : human()}\n`);
    },
    line(text) {
      if (!json) void write(`${text}\n`);
    },
    async stream(text) {
      await write(text);
    },
  };
}

function show(cell: Cell): string {
  if (cell === undefined || cell === '') return '-';
  if (typeof cell === 'boolean') return cell ? 'yes' : 'no';
  return printable(String(cell)).replaceAll('\n', ' ');
}

/** Columns aligned by spaces, a header in capitals; numbers to the right. No rows: one line that says so. */
export function table(header: readonly string[], rows: readonly (readonly Cell[])[], none = 'none'): string {
  if (rows.length === 0) return none;
  const texts = [header.map((name) => name.toUpperCase()), ...rows.map((row) => row.map(show))];
  const widths = header.map((_, column) => Math.max(...texts.map((row) => (row[column] ?? '').length)));
  const right = header.map((_, column) =>
    rows.every((row) => typeof row[column] === 'number' || row[column] === undefined),
  );
  return texts
    .map((row) =>
      row
        .map((text, column) =>
          right[column] === true ? text.padStart(widths[column] as number) : text.padEnd(widths[column] as number),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `name: value` lines, names aligned; absent values show as "-". */
export function details(pairs: readonly (readonly [string, Cell])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${show(value)}`).join('\n');
}

/** Bytes for a person, such as 98.1 MB (powers of ten). */
export function bytesText(bytes: number | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Age for a person, such as 3 min; `nowMs` and `atMs` are wall clock. */
export function ageText(nowMs: number, atMs: number | undefined): string | undefined {
  if (atMs === undefined || atMs === 0) return undefined;
  const seconds = Math.max(0, Math.round((nowMs - atMs) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
