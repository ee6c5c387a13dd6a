/** Work that must not overlap runs in the order in which it was asked for, also after a failure. */
import t from 'tap';
import { createSerial } from '../../lib/serial.ts';

t.test('one after the other, and a failure is told to its caller and to nobody else', async (t) => {
  const serial = createSerial();
  const seen: string[] = [];
  const work =
    (name: string, fails = false) =>
    async () => {
      seen.push(`${name} begins`);
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    };
  const all = await Promise.allSettled([serial(work('a')), serial(work('b', true)), serial(work('c'))]);
  t.match(all, [{ value: 'a' }, { reason: { message: 'b' } }, { value: 'c' }]);
  t.same(seen, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});
