/**
 * What this scheduler has changed in its key file and the log does not have yet: with the store away, or never opened, a
 * restart must not forget whose word it was. The file also names the data folder, for the entries of the log.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { createSerial } from '../../../lib/serial.ts';
import type { AccessNote } from '../../core/access/key_events.ts';
import { replaceFile } from './key_store.ts';

const NOTE = z.strictObject({
  keyId: z.string().max(64),
  change: z.enum(['created', 'revoked']),
  actor: z.string().min(1).max(512),
  reason: z.string().max(512),
  correlationId: z.string().max(512),
});
const FILE = z.strictObject({ version: z.literal(1), folder: z.string().regex(/^[a-z2-7]{8}$/), notes: z.array(NOTE) });

/** Most notes that are kept; of what is older only the change itself is known. */
const MAX_NOTES = 10_000;

export interface AccessNotes {
  readonly folder: string;
  list(): readonly AccessNote[];
  /** Durable when it resolves. */
  add(note: AccessNote): Promise<void>;
  /** Forgets those that are in the log now. */
  remove(notes: readonly AccessNote[]): Promise<void>;
}

type Found = { readonly folder: string; readonly notes: AccessNote[] } | undefined;

/** Undefined: there is none yet, or it is damaged. @throws what the file system says */
async function readNotes(file: string, damaged: (err: unknown) => void): Promise<Found> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
  try {
    return FILE.parse(JSON.parse(text));
  } catch (thrown) {
    damaged(thrown);
    return undefined;
  }
}

/**
 * @param newFolder a name of 8 characters of base32 for a folder that has none
 * @param damaged the file is there and cannot be understood: the log is told of all keys anew, under another name of the folder
 * @throws what the file system says
 */
export async function openAccessNotes(
  file: string,
  newFolder: () => string,
  damaged: (err: unknown) => void,
): Promise<AccessNotes> {
  const found = await readNotes(file, damaged);
  const folder = found?.folder ?? newFolder();
  let notes: readonly AccessNote[] = found?.notes ?? [];
  const serial = createSerial();
  const change = (edit: (now: readonly AccessNote[]) => readonly AccessNote[]): Promise<void> =>
    serial(async () => {
      const next = edit(notes).slice(-MAX_NOTES);
      await replaceFile(file, `${JSON.stringify({ version: 1, folder, notes: next })}\n`);
      notes = next;
    });
  if (found === undefined) await change(() => []);
  return {
    folder,
    list: () => notes,
    add: (note) => change((now) => [...now, note]),
    remove: (gone) => change((now) => now.filter((note) => !gone.includes(note))),
  };
}
