/** Stop strings across a cut and across pieces. */
import fc from 'fast-check';
import t from 'tap';
import { StopBuffer } from '../../../agent/core/stop_buffer.ts';

t.test('a stop string may begin in the text that was never sent', async (t) => {
  const buffer = new StopBuffer(['STOP', ''], false, 'a S');
  t.same(buffer.push('TO'), { text: 'a ', stop: undefined });
  t.same(buffer.push('P and more'), { text: '', stop: 'STOP' });
  t.equal(buffer.flush(), '');
});

t.test('the first of several stop strings ends the text, and stays in it when asked', async (t) => {
  t.same(new StopBuffer(['b', 'ab'], false, '').push('xab'), { text: 'x', stop: 'ab' });
  t.same(new StopBuffer(['b', 'ab'], true, '').push('xabc'), { text: 'xab', stop: 'ab' });
  const none = new StopBuffer(['abc'], false, '');
  t.same(none.push('xab'), { text: 'x', stop: undefined });
  t.equal(none.flush(), 'ab', 'what was held back is text after all');
});

t.test('however the text is cut, what is sent is the text before the first stop string', async (t) => {
  const letters = fc.array(fc.constantFrom('a', 'b'), { maxLength: 30 }).map((list) => list.join(''));
  const stops = fc.array(fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 4 }), {
    minLength: 1,
    maxLength: 3,
  });
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 8 }), stops, letters, (pieces, lists, held) => {
      const strings = lists.map((list) => list.join(''));
      const whole = held + pieces.join('');
      // The engine stops at the first end of a stop string; of those that end there the earliest begin counts.
      const buffer = new StopBuffer(strings, false, held);
      let sent = '';
      let stop: string | undefined;
      for (const piece of pieces) {
        const found = buffer.push(piece);
        sent += found.text;
        stop = found.stop;
        if (stop !== undefined) break;
      }
      if (stop === undefined) sent += buffer.flush();
      t.ok(whole.startsWith(sent));
      if (stop === undefined) t.equal(sent, whole);
      else t.ok(whole.slice(sent.length).startsWith(stop));
      if (pieces.length > 0) for (const string of strings) t.notOk(sent.includes(string), 'no stop string is sent');
    }),
  );
});
