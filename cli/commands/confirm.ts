/** Asks a person before something that cannot be taken back. */
import { createInterface } from 'node:readline/promises';
import { CodedError } from '../../lib/errors.ts';

/**
 * @param intro what is about to happen, with a line feed at its end
 * @throws CodedError invalid_config where nobody can be asked, cancelled where the answer is no
 */
export async function confirm(intro: string, question: string, undone: string): Promise<void> {
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new CodedError('invalid_config', 'This asks first; here is nobody to ask, so give --yes.', {
      param: '--yes',
    });
  process.stdout.write(intro);
  const reader = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await reader.question(`${question} [y/N] `);
  reader.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new CodedError('cancelled', undone);
}
