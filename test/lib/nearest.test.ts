/** The suggestion for a mistyped word. */
import t from 'tap';
import { editDistance, nearest } from '../../lib/nearest.ts';

t.test('counts insertions, deletions and substitutions', async (t) => {
  t.equal(editDistance('kitten', 'sitting'), 3);
  t.equal(editDistance('', 'abc'), 3);
  t.equal(editDistance('abc', ''), 3);
  t.equal(editDistance('same', 'same'), 0);
  t.equal(editDistance('x'.repeat(5_000), ''), 80, 'long words are cut, so a hostile one costs little');
});

t.test('finds what was meant, whatever its letter case', async (t) => {
  const known = ['--http-port', '--grpc-port', '--log-level'];
  t.equal(nearest('--htpp-port', known), '--http-port');
  t.equal(nearest('--LOG-LEVEL', known), '--log-level');
  t.equal(nearest('SOPHIA_X_HTTP_PROT', ['SOPHIA_X_HTTP_PORT', 'SOPHIA_X_GRPC_PORT']), 'SOPHIA_X_HTTP_PORT');
});

t.test('suggests nothing rather than something far away', async (t) => {
  t.equal(nearest('--quantum', ['--http-port', '--log-level']), undefined);
  t.equal(nearest('anything', []), undefined);
});
