/** Which files of a listing make up a model, and what an engine is given of them. */
import t from 'tap';
import {
  chooseFiles,
  complainOfListing,
  enginePath,
  MAX_FILES,
  parseSums,
} from '../../../../agent/core/model_files/listing.ts';
import { parseS3Error, parseS3Page } from '../../../../agent/core/model_files/s3_listing.ts';

const paths = (names: readonly string[]) => names.map((path) => ({ path }));
const chosen = (names: readonly string[], within = ''): string[] =>
  chooseFiles(paths(names), within).map(({ path }) => path);

t.test('of a repository what an engine loads is taken, once', async (t) => {
  const many = [
    'config.json',
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'tokenizer.json',
  ];
  const others = [
    'pytorch_model.bin',
    'original/consolidated.00.pth',
    'consolidated.safetensors',
    'onnx/model.onnx',
    'tf_model.h5',
    '.gitattributes',
    'logo.png',
  ];
  t.same(chosen([...many, ...others]), many);
  t.same(
    chosen(['params.json', 'consolidated.safetensors']),
    ['params.json', 'consolidated.safetensors'],
    "Mistral's form alone",
  );
  t.same(
    chosen(['config.json', 'pytorch_model.bin', 'vae/x.safetensors']),
    ['config.json', 'pytorch_model.bin', 'vae/x.safetensors'],
    'no safetensors at the top',
  );
});

t.test('a folder or a file behind the repository lies at the top', async (t) => {
  const names = ['a/q4.gguf', 'a/q8.gguf', 'b/s-00001-of-00002.gguf', 'b/s-00002-of-00002.gguf', 'q.gguf'];
  t.same(chosen(names, 'a'), ['q4.gguf', 'q8.gguf']);
  t.same(chosen(names, 'a/q4.gguf'), ['q4.gguf']);
  t.same(chosen(names, 'b/s-00001-of-00002.gguf'), ['s-00001-of-00002.gguf', 's-00002-of-00002.gguf']);
  t.same(chosen(names, 'q.gguf'), ['q.gguf']);
  t.same(chosen(names, 'nothing'), []);
});

t.test('a listing that cannot be is refused', async (t) => {
  t.equal(complainOfListing([{ path: 'a', bytes: 1 }, { path: 'b/c' }]), undefined);
  t.match(complainOfListing([]), /no file/);
  t.match(complainOfListing(paths(Array.from({ length: MAX_FILES + 1 }, (_, i) => `f${i}`))), /more than/);
  t.match(complainOfListing(paths(['../a'])), /no relative path/);
  t.match(complainOfListing(paths(['a', 'a'])), /twice/);
  t.match(complainOfListing(paths(['a', 'a/b'])), /below another file/);
  for (const bytes of [-1, 0.5, 2 ** 60]) t.match(complainOfListing([{ path: 'a', bytes }]), /size/);
});

t.test('sums are read in the form of sha256sum', async (t) => {
  const hex = 'A'.repeat(64);
  t.same(parseSums(`# made by hand\n\n${hex}  ./a b.bin\n${hex} *c\n`), {
    'a b.bin': 'a'.repeat(64),
    c: 'a'.repeat(64),
  });
  t.equal(parseSums('<html>'), undefined);
  t.equal(parseSums(`${hex}  x\n`.repeat(MAX_FILES + 1)), undefined);
});

t.test('an engine is given the file that it names, its only GGUF, or the folder', async (t) => {
  const files = ['config.json', 'q4.gguf', 'q8.gguf'];
  t.equal(enginePath('/m', files, { kind: 'llama', model: 'org/q8.gguf' }), '/m/q8.gguf');
  t.equal(enginePath('/m', files, { kind: 'llama', model: 'q4.gguf' }), '/m/q4.gguf');
  t.equal(enginePath('/m', files, { kind: 'llama', model: 'x' }), '/m', 'which of two is not guessed');
  t.equal(enginePath('/m', ['a/x.gguf'], { kind: 'llama', model: 'x' }), '/m/a/x.gguf');
  t.equal(
    enginePath('/m', ['s-00002-of-00002.gguf', 's-00001-of-00002.gguf'], { kind: 'llama', model: 'x' }),
    '/m/s-00001-of-00002.gguf',
  );
  t.equal(enginePath('/m', ['q4.gguf'], { kind: 'vllm', model: 'x' }), '/m/q4.gguf');
  t.equal(enginePath('/m', ['config.json', 'q4.gguf'], { kind: 'vllm', model: 'x' }), '/m');
  t.equal(enginePath('/m', ['config.json'], { kind: 'sim', model: 'x' }), '/m');
  t.equal(enginePath('/share/m.gguf', ['m.gguf'], { kind: 'llama', model: 'x' }), '/share/m.gguf');
});

t.test('a page of S3 is read: keys with entities, sizes, the next token', async (t) => {
  const text =
    '<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken><Contents><Key>x &lt;1&gt; &#228;&#x41;&odd;</Key><Size>5</Size><ETag>&quot;e&quot;</ETag></Contents><Contents><Size>0</Size><Key>y</Key></Contents></ListBucketResult>';
  t.same(parseS3Page(text), {
    next: 'a&b',
    objects: [
      { key: 'x <1> \u00e4A&odd;', bytes: 5, etag: '"e"' },
      { key: 'y', bytes: 0, etag: '' },
    ],
  });
  t.same(parseS3Page('<ListBucketResult></ListBucketResult>'), { objects: [] });
  t.equal(parseS3Page('<html>'), undefined);
  t.equal(parseS3Page('<ListBucketResult><Contents><Key>x</Key></Contents>'), undefined);
  t.equal(parseS3Error('<Error><Code>NoSuchBucket</Code></Error>'), 'NoSuchBucket');
  t.equal(parseS3Error('<html>'), undefined);
  t.equal(parseS3Error('<Error><Code>not a word</Code></Error>'), undefined);
});
