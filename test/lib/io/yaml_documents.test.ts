/** Files of YAML documents: values with their lines, and what is refused. */
import t from 'tap';
import { readYamlDocuments } from '../../../lib/io/yaml_documents.ts';

const values = (text: string): unknown[] => readYamlDocuments(text, 'f.yaml').map(({ value }) => value);
const refused = (text: string): string => {
  try {
    values(text);
  } catch (thrown) {
    return (thrown as Error).message;
  }
  return '';
};

t.test('documents come with their values and lines; empty ones are left out', async (t) => {
  const text = '# first\na: 1\nb:\n  - c: x\n---\n---\n# only a comment\n---\nd: yes\n';
  const documents = readYamlDocuments(text, 'f.yaml');
  t.same(
    documents.map(({ value }) => value),
    [{ a: 1, b: [{ c: 'x' }] }, { d: 'yes' }],
    'YAML 1.2: yes is a word',
  );
  const [first, second] = documents;
  t.equal(first?.line, 2);
  t.equal(first?.lineOf(['b', 0, 'c']), 4);
  t.equal(first?.lineOf(['b', 0, 'missing', 'deeper']), 4, 'the innermost part that is there');
  t.equal(first?.lineOf([]), 2);
  t.equal(second?.line, 9);
  t.same(values(''), []);
  t.same(values('{"json": [1, true, null]}'), [{ json: [1, true, null] }]);
  t.same(values('a: &x {b: 1}\nc: *x'), [{ a: { b: 1 }, c: { b: 1 } }]);
});

t.test('a bomb of aliases, tags, keys that stand twice and broken text are refused with file and line', async (t) => {
  const bomb = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 9; i++) bomb.push(`a${i}: &a${i} [${Array.from({ length: 9 }, () => `*a${i - 1}`).join(', ')}]`);
  t.match(refused(bomb.join('\n')), /^f\.yaml:1: aliases repeat too much/);
  t.match(refused('a: *nowhere'), /^f\.yaml:1: /);
  t.match(refused('x: 1\na: !!js/function "x"'), /^f\.yaml:2: /);
  t.match(refused('a: 1\nb: 2\na: 3'), /^f\.yaml:3: .*unique/);
  t.match(refused('a: [1\nb: 2'), /^f\.yaml:\d: /);
  t.match(refused('{a: 1}: 2'), /^f\.yaml:1: /, 'keys are text');
  t.match(refused('---\n'.repeat(20_002)), /more than 20000 documents/);
  t.match(refused('a'.repeat(33 * 1024 * 1024)), /larger than/);
  const polluted = values('__proto__: {polluted: 1}')[0] as object;
  t.equal((polluted as { polluted?: number }).polluted, undefined);
  t.same(Object.keys(polluted), ['__proto__']);
});
