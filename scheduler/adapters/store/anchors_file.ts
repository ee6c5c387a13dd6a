/**
 * The anchors in a file outside of the store, one a line, only ever added to. A copy of it belongs onto another machine:
 * whoever can write both the store and this file can cut both.
 */
import { open, readFile } from 'node:fs/promises';
import { CodedError } from '../../../lib/errors.ts';
import { anchorLine, makeAnchor, readAnchors, type SignedAnchor } from '../../core/events/anchors.ts';
import type { EventStore } from '../../core/events/store_port.ts';
import type { AnchorKeys } from './keys.ts';

/** The lines of an anchors file; none when there is no file. A last line without its end was never finished. */
export async function readAnchorLines(file: string): Promise<string[]> {
  let content: string;
  try {
    content = await readFile(file, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new CodedError('invalid_config', `The anchors file ${file} cannot be read.`, { cause: thrown });
  }
  return content.split('\n').filter((line) => line !== '');
}

export interface AnchorsFile {
  /** The newest anchor, if any. */
  readonly newest: () => SignedAnchor | undefined;
  /** Signs the end of the log and adds it, unless nothing came since the last one. It is on the disk when this resolves. */
  anchor(store: Pick<EventStore, 'head'>): Promise<SignedAnchor | undefined>;
}

/**
 * Opens the file for adding; one process at a time writes it.
 * @throws CodedError store_corrupt when its last line does not verify
 */
export async function openAnchorsFile(file: string, keys: AnchorKeys): Promise<AnchorsFile> {
  const lines = await readAnchorLines(file);
  const { anchors, problems } = readAnchors(lines, undefined, keys.verify);
  if (problems.some(({ line, problem }) => line === lines.length && problem !== 'line_missing'))
    throw new CodedError('store_corrupt', `The last line of the anchors file ${file} does not verify.`);
  let newest = anchors.at(-1);
  return {
    newest: () => newest,
    async anchor(store) {
      const head = await store.head();
      if (head.seq === 0 || (newest?.seq === head.seq && newest.hash === head.hash)) return newest;
      const next = makeAnchor(head, newest, head.nowMs, keys.sign);
      const handle = await open(file, 'a', 0o600);
      try {
        await handle.appendFile(`${anchorLine(next)}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
      newest = next;
      return next;
    },
  };
}
