/**
 * Failures by script: which engine dies, stands still or comes back at which virtual second.
 */

export type FaultKind = 'kill' | 'hang' | 'restart';

export interface Fault {
  readonly kind: FaultKind;
  readonly engine: number;
  readonly atMs: number;
  /** For `hang`: how long. */
  readonly forMs: number;
}

/** A script that cannot be read, with the part that is wrong. */
export class FaultScriptError extends Error {
  override readonly name = 'FaultScriptError';
}

const PART = /^(kill|hang|restart):(\d{1,5})@(\d{1,9}(?:\.\d+)?)(?:\+(\d{1,9}(?:\.\d+)?))?$/;
const MAX_FAULTS = 1000;

/**
 * Reads `kill:ENGINE@SECOND`, `hang:ENGINE@SECOND+SECONDS` and `restart:ENGINE@SECOND`, with commas between; engines
 * are counted from 0.
 * @throws FaultScriptError
 */
export function parseFaults(script: string, engines: number): Fault[] {
  const parts = script.split(',').filter((part) => part.trim() !== '');
  if (parts.length > MAX_FAULTS) throw new FaultScriptError(`at most ${MAX_FAULTS} faults`);
  const faults = parts.map((part): Fault => {
    const [, kind, engine, at, duration] = PART.exec(part.trim()) ?? [];
    if (kind === undefined || (kind === 'hang') !== (duration !== undefined))
      throw new FaultScriptError(`"${part}" is not kill:ENGINE@S, restart:ENGINE@S or hang:ENGINE@S+S`);
    if (Number(engine) >= engines) throw new FaultScriptError(`"${part}": there are engines 0 to ${engines - 1}`);
    return {
      kind: kind as FaultKind,
      engine: Number(engine),
      atMs: Number(at) * 1000,
      forMs: Number(duration ?? 0) * 1000,
    };
  });
  return faults.toSorted((left, right) => left.atMs - right.atMs);
}
