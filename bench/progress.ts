/**
 * A progress bar on a terminal, and nothing where there is none: a log file full of bars helps nobody. It is drawn on
 * standard error, because standard output carries the result.
 */
import { stderr } from 'node:process';

const BAR_CHARS = 24;
const REDRAW_MS = 100;
const CLEAR_LINE = '\r\u001b[2K';

export interface Progress {
  /** @param done of the total; more than all is all */
  update(done: number, note: string): void;
  /** Takes the bar off the screen. */
  end(): void;
}

/** The text of a bar. Pure. @param columns of the terminal; what does not fit is cut, so that the bar stays one line */
export function barText(label: string, share: number, note: string, columns: number): string {
  const bounded = Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0));
  const full = Math.round(bounded * BAR_CHARS);
  const bar = `${'#'.repeat(full)}${'.'.repeat(BAR_CHARS - full)}`;
  const text = `${label} [${bar}] ${Math.round(bounded * 100)} % ${note}`;
  return text.slice(0, Math.max(1, columns - 1));
}

export function startProgress(label: string, total: number): Progress {
  if (!stderr.isTTY) return { update: () => undefined, end: () => undefined };
  let drawnMs = Number.NEGATIVE_INFINITY;
  return {
    update(done, note) {
      const nowMs = performance.now();
      if (nowMs - drawnMs < REDRAW_MS && done < total) return;
      drawnMs = nowMs;
      stderr.write(`${CLEAR_LINE}${barText(label, done / total, note, stderr.columns)}`);
    },
    end: () => void stderr.write(CLEAR_LINE),
  };
}
