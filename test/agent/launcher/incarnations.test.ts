/** The numbers of an engine's lives: they rise and never come twice, whatever has become of the file that counts. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { bench, KEEPERS } from './support.ts';

t.test('the numbers of lives rise by one, for each engine on its own, also for a new agent', async (t) => {
  const { launcher, another } = bench(t, KEEPERS[0]);
  t.equal(await launcher.nextIncarnation('one'), 1);
  t.equal(await launcher.nextIncarnation('one'), 2);
  t.equal(await launcher.nextIncarnation('two'), 1);
  t.equal(await another().nextIncarnation('one'), 3);
});

t.test('a count that cannot be read goes on above every number that was given', async (t) => {
  const broken = ['', 'rubbish', '-5', '12'.repeat(40), '1e9', '\0\0\0\0'];
  for (const content of broken) {
    const { launcher, root } = bench(t, KEEPERS[0]);
    for (let life = 0; life < 3; life++) await launcher.nextIncarnation('one');
    writeFileSync(path.join(root, 'one', 'incarnation'), content);
    const next = await launcher.nextIncarnation('one');
    t.ok(next > 1_600_000_000 && Number.isSafeInteger(next), JSON.stringify(content));
    t.equal(await launcher.nextIncarnation('one'), next + 1);
  }
  const { launcher, root } = bench(t, KEEPERS[0]);
  mkdirSync(path.join(root, 'one', 'incarnation'), { recursive: true });
  await t.rejects(
    launcher.nextIncarnation('one'),
    { code: 'storage_failed' },
    'something that is no file in its place',
  );
});

t.test('a count that was lost goes on above the lives that still have a folder', async (t) => {
  const { launcher, root } = bench(t, KEEPERS[0]);
  mkdirSync(path.join(root, 'one', 'life-41'), { recursive: true });
  t.equal(await launcher.nextIncarnation('one'), 42);
});

t.test('a data folder that cannot be written is said to be so, by a number and by a launch', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'launch-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'a-file');
  writeFileSync(file, '');
  const { launcher, plan } = bench(t, KEEPERS[0], { enginesFolder: path.join(file, 'engines') });
  const refused = { code: 'storage_failed', message: /ENOTDIR/ };
  await t.rejects(launcher.nextIncarnation('one'), refused);
  await t.rejects(launcher.launch({ ...(await plan('exit 0', { incarnation: 1 })) }), refused);
});

t.test('a word that no environment can hold is refused before anything is started', async (t) => {
  const { launcher, plan } = bench(t, KEEPERS[0]);
  await t.rejects(launcher.launch({ ...(await plan('')), args: ['a\0b'] }), { code: 'invalid_spec' });
  await t.rejects(launcher.launch({ ...(await plan('', { environment: { 'A=B': 'c' } })) }), { code: 'invalid_spec' });
});
