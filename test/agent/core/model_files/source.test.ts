/** Sources of models as orders name them: what is taken, what is refused and by which field. */
import t from 'tap';
import { sourceName } from '../../../../lib/model_source.ts';
import {
  isSafePath,
  type ModelSource,
  parseSource,
  plainName,
  sourceKey,
} from '../../../../agent/core/model_files/source.ts';

const of = (url: string, revision = '', sha256: Readonly<Record<string, string>> = {}): ModelSource => ({
  url,
  revision,
  sha256,
});
const parse = (source: ModelSource, roots: readonly string[] = []) => parseSource(source, roots);
const placeOf = (source: ModelSource) => {
  const parsed = parse(source);
  if (parsed.kind === 'bad') throw new Error(parsed.message);
  return parsed.place;
};

t.test('each kind of address is read', async (t) => {
  t.same(placeOf(of('file:///models/m/')), { kind: 'file', path: '/models/m' });
  t.same(placeOf(of('file:///')), { kind: 'file', path: '/' });
  t.same(placeOf(of('hf://org/name')), { kind: 'hub', repository: 'org/name', within: '', revision: 'main' });
  t.same(placeOf(of('hf://org/name/gguf/q4.gguf', 'v1')), {
    kind: 'hub',
    repository: 'org/name',
    within: 'gguf/q4.gguf',
    revision: 'v1',
  });
  t.same(placeOf(of('s3://bucket/a/b/')), { kind: 's3', bucket: 'bucket', prefix: 'a/b' });
  t.same(placeOf(of('s3://bucket')), { kind: 's3', bucket: 'bucket', prefix: '' });
  t.same(placeOf(of('https://host/p/f.gguf?x=1#part')), { kind: 'https', url: 'https://host/p/f.gguf?x=1' });
  t.match(placeOf(of('http://127.0.0.1:8080/m/')), { kind: 'https' });
  t.match(placeOf(of('http://[::1]/m/')), { kind: 'https' });
});

const REFUSED: readonly (readonly [ModelSource, string, RegExp])[] = [
  [of('ftp://host/x'), 'model_source.url', /A source is/],
  [of('models/m'), 'model_source.url', /A source is/],
  [of('file://models'), 'model_source.url', /absolute path/],
  [of('file:///models/../etc'), 'model_source.url', /absolute path/],
  [of('hf://org'), 'model_source.url', /hf:\/\/owner\/name/],
  [of('hf://org/na..me'), 'model_source.url', /hf:\/\/owner\/name/],
  [of('hf://org/name/../x'), 'model_source.url', /no path/],
  [of('hf://org/name', 'a..b'), 'model_source.revision', /not a branch/],
  [of('hf://org/name', '-x'), 'model_source.revision', /not a branch/],
  [of('s3://B'), 'model_source.url', /bucket/],
  [of('s3://a..b/x'), 'model_source.url', /bucket/],
  [of('s3://bucket/a//b'), 'model_source.url', /prefix/],
  [of('https://'), 'model_source.url', /cannot be read/],
  [of('https://user:pw@host/x'), 'model_source.url', /no secret/],
  [of('http://example.org/x'), 'model_source.url', /https/],
  [of('https://host/x', 'v1'), 'model_source.revision', /Only a hub/],
  [of(`https://host/${'x'.repeat(3000)}`), 'model_source.url', /too long/],
  [of('https://host/a\nb'), 'model_source.url', /odd/],
  [of('https://host/', '', { '../x': '0'.repeat(64) }), 'model_source.sha256', /no relative path/],
  [of('https://host/', '', { x: 'abc' }), 'model_source.sha256', /64 hexadecimal/],
  [
    of('https://host/', '', Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`f${i}`, '0'.repeat(64)]))),
    'model_source.sha256',
    /more than/,
  ],
];

t.test('what cannot be is refused with its field', async (t) => {
  for (const [source, param, message] of REFUSED)
    t.match(parse(source), { kind: 'bad', param, message }, source.url.slice(0, 40));
  t.match(parse(of('file:///other/m'), ['/models']), { kind: 'bad', param: 'model_source.url' });
  t.match(parse(of('file:///models/m'), ['/models']), { kind: 'source' });
});

t.test("a path stays below its folder and away from what is the agent's own", async (t) => {
  for (const good of ['a', 'a/b.c', 'a b', '.hidden', 'a/.sophia-x']) t.ok(isSafePath(good), good);
  const bad = [
    '',
    '/a',
    'a//b',
    './a',
    'a/..',
    'a\\b',
    'a\u0000',
    '.sophia-fetch/x',
    'x'.repeat(300),
    Array(20).fill('a').join('/'),
    'x/'.repeat(600),
  ];
  for (const path of bad) t.notOk(isSafePath(path), path.slice(0, 20));
});

t.test('a source has one key for the same files and another for others', async (t) => {
  const sums = { a: '0'.repeat(64), b: '1'.repeat(64) };
  t.equal(sourceKey(of('hf://o/n', 'main', sums)), sourceKey(of('hf://o/n', 'main', { b: sums.b, a: sums.a })));
  t.not(sourceKey(of('hf://o/n', 'main')), sourceKey(of('hf://o/n', 'v1')));
  t.not(sourceKey(of('hf://o/n')), sourceKey(of('hf://o/n', '', sums)));
  t.match(sourceKey(of('hf://o/n')), /^[0-9a-f]{16}$/);
  t.equal(sourceName(of('hf://o/n')), 'hf://o/n');
  t.equal(sourceName(of('hf://o/n', 'v1')), 'hf://o/n@v1');
});

t.test('the name of a folder tells what is in it and is safe', async (t) => {
  t.equal(plainName(placeOf(of('hf://org/Name-7B'))), 'org--Name-7B');
  t.equal(plainName(placeOf(of('s3://bucket/llm/a b'))), 'bucket--llm-a-b');
  t.equal(plainName(placeOf(of('https://host.example/x/'))), 'host.example');
  t.equal(plainName({ kind: 'file', path: '/...' }), 'model');
});
