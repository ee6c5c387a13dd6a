/** Reads the key of a provider. Its text goes to the provider and nowhere else: no message here holds any of it. */
import { readFile, stat } from 'node:fs/promises';
import { CodedError } from '../../../lib/errors.ts';

const OTHERS = 0o007;
const MAX_BYTES = 8192;
/** What may stand in a header's value after the word Bearer. */
const KEY = /^[\x21-\x7e]{1,4096}$/;

/** @throws CodedError invalid_config */
export async function readKeyFile(provider: string, file: string): Promise<string> {
  const invalid = (why: string, cause?: unknown): CodedError =>
    new CodedError('invalid_config', `Setting providers: the key file of ${provider} ${why}.`, {
      param: 'providers',
      cause,
    });
  let key: string;
  try {
    const { mode, size } = await stat(file);
    if ((mode & OTHERS) !== 0) throw invalid('may be read by everybody; let its mode be 0600');
    if (size > MAX_BYTES) throw invalid('is too large for a key');
    key = (await readFile(file, 'utf8')).trim();
  } catch (thrown) {
    if (thrown instanceof CodedError) throw thrown;
    throw invalid(`cannot be read (${(thrown as NodeJS.ErrnoException).code ?? 'unknown reason'})`, thrown);
  }
  if (!KEY.test(key)) throw invalid('does not hold one key');
  return key;
}
