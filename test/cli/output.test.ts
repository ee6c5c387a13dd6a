/** What a table says: alignment, absent figures, and text from elsewhere that must not steer the terminal. */
import t from 'tap';
import { ageText, bytesText, createPrinter, details, printable, table } from '../../cli/output.ts';

t.test('a table aligns words to the left and numbers to the right, and an absent figure is a dash', async (t) => {
  const text = table(
    ['name', 'load', 'ok'],
    [
      ['a', 5, true],
      ['long', undefined, false],
      ['', 12, undefined],
    ],
  );
  t.same(text.split('\n'), ['NAME  LOAD  OK', 'a        5  yes', 'long     -  no', '-       12  -']);
  t.equal(table(['name'], [], 'nothing here'), 'nothing here');
});

t.test('text from a remote side cannot move the cursor or forge a line', async (t) => {
  t.equal(printable('a\u001b[2Jb\r\u0007c'), 'a[2Jbc');
  t.notMatch(table(['x'], [['one\ntwo']]).split('\n')[1] as string, /\n/);
  t.equal(details([['key', 'v\u009b1A']]), 'key: v1A');
});

t.test('with --json a result is one line of JSON and remarks are silent', async (t) => {
  let written = '';
  const print = createPrinter(true, (text) => {
    written += text;
  });
  print.line('a remark');
  print.result({ a: 1 }, () => 'never');
  t.equal(written, '{"a":1}\n');
});

t.test('sizes and ages read as a person says them', async (t) => {
  t.equal(bytesText(98_100_000), '98.1 MB');
  t.equal(bytesText(999), '999 B');
  t.equal(bytesText(undefined), undefined);
  t.equal(ageText(100_000, 10_000), '90 s');
  t.equal(ageText(10_000_000, 1), '3 h');
  t.equal(ageText(0, undefined), undefined);
  t.equal(ageText(4e8, 1), '5 d');
  t.equal(ageText(600_000, 1), '10 min');
});
