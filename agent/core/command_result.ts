/** Results of commands in the form in which they travel: a code of docs/ERRORS.md, or none when it was carried out. */
import { toCodedError } from '../../lib/errors.ts';
import type { CommandResult } from '../../proto/gen/fleet/v1/CommandResult.ts';

/** Carried out, or begun where it takes time. */
export const DONE: Omit<CommandResult, 'id'> = Object.freeze({ code: '', message: '', param: '' });

/** What was thrown, as a result; what has no code becomes `internal`, without its words. */
export function failureOf(thrown: unknown): Omit<CommandResult, 'id'> {
  const { code, message, param } = toCodedError(thrown);
  return { code, message, param: param ?? '' };
}
