/** Who changes something, in the spelling of the log. */
import type { Identity } from '../../ports.ts';

/** `key:ID` for an API key, `subject:NAME` for whoever came with a token. */
export const actorOf = ({ keyId, subject }: Pick<Identity, 'keyId' | 'subject'>): string =>
  (keyId === undefined ? `subject:${subject}` : `key:${keyId}`).slice(0, 512);
