/** What a configuration of providers may hold, and what is refused before anything listens. */
import { chmod, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { readKeyFile } from '../../../scheduler/adapters/providers/key_file.ts';

const KEY = 'sk-canary-0123456789';

t.test('a key is read from a private file, and no refusal holds any of it', async (t) => {
  const folder = t.testdir();
  const file = path.join(folder, 'key');
  const write = async (text: string, mode = 0o600): Promise<void> => {
    await writeFile(file, text);
    await chmod(file, mode);
  };
  await write(`${KEY}\n`);
  t.equal(await readKeyFile('p', file), KEY);
  const refusals: [string, string, number, RegExp][] = [
    ['readable by all', KEY, 0o604, /may be read by everybody/],
    ['empty', '\n', 0o600, /does not hold one key/],
    ['two lines', `${KEY}\n${KEY}`, 0o600, /does not hold one key/],
    ['too large', KEY.repeat(1000), 0o600, /too large/],
  ];
  for (const [name, text, mode, why] of refusals) {
    await write(text, mode);
    const error = await readKeyFile('p', file).then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    t.match(error, { code: 'invalid_config', param: 'providers', message: why }, name);
    t.notMatch(String(error?.stack), /canary/, name);
  }
  await t.rejects(readKeyFile('p', path.join(folder, 'absent')), { code: 'invalid_config', message: /ENOENT/ });
});
