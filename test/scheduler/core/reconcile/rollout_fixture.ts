/** What is declared, out of a few entries of the log. */
import type { Entry, Projection } from '../../../../scheduler/core/events/projection.ts';
import type { Declared } from '../../../../scheduler/core/reconcile/contract.ts';
import { readDeclared } from '../../../../scheduler/core/reconcile/declared.ts';

/** Area, kind, name and value; all of them have the version 7. */
export type EntryOf = readonly [Entry['area'], string, string, unknown];

export function declaredOf(...entries: readonly EntryOf[]): Declared {
  const all = entries.map(
    ([area, kind, name, value]) => ({ area, kind, name, value, version: 7, actor: 'key:a' }) as never,
  );
  return readDeclared({ entries: () => all, seq: () => 9 } as unknown as Projection);
}
