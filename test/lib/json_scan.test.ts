/** The scanner of request bodies, against JSON.parse as the oracle and against what an attacker would send. */
import fc from 'fast-check';
import t from 'tap';
import { type JsonScanFailure, type JsonScanSuccess, scanJson, spliceMembers } from '../../lib/json_scan.ts';

const LIMITS = { maxDepth: 64 };
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const scan = (text: string, limits: { maxDepth: number; maxMembers?: number } = LIMITS) =>
  scanJson(encoder.encode(text), limits);
const scanBytes = (...bytes: number[]) => scanJson(Uint8Array.from(bytes), LIMITS);

function refusal(result: JsonScanSuccess | JsonScanFailure): JsonScanFailure {
  if (result.ok) throw new Error('It was accepted.');
  return result;
}

/** What JSON.parse makes of the bytes, or undefined when it or the UTF-8 decoder refuses them. */
function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch {
    return undefined;
  }
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);

t.test('the members of the root have their keys and exact offsets', async (t) => {
  const text = ' { "model" : "m\\"x" ,\n"n":[1,{"a":{}}], "\\u0073tream":true, "é":-1.5e+3 } ';
  const bytes = encoder.encode(text);
  const result = scanJson(bytes, LIMITS);
  if (!result.ok) throw new Error(result.message);
  const found = result.members.map((member) => ({
    key: member.key,
    keyText: decoder.decode(bytes.subarray(member.keyStart, member.keyStart + 3)),
    value: decoder.decode(bytes.subarray(member.valueStart, member.valueEnd)),
  }));
  t.same(found, [
    { key: 'model', keyText: '"mo', value: '"m\\"x"' },
    { key: 'n', keyText: '"n"', value: '[1,{"a":{}}]' },
    { key: 'stream', keyText: '"\\u', value: 'true' },
    { key: 'é', keyText: '"é', value: '-1.5e+3' },
  ]);
  t.same(scan('{}'), { ok: true, members: [] });
  t.same(scan(' \n\r\t{ } '), { ok: true, members: [] });
});

const MALFORMED: readonly (readonly [name: string, text: string, at: number])[] = [
  ['nothing', '', 0],
  ['white space only', '  \n', 3],
  ['a root that is no object', '[1]', 0],
  ['a root that is a string', '"x"', 0],
  ['an open object', '{', 1],
  ['an open array', '{"a":[1', 7],
  ['an open string', '{"a":"x', 7],
  ['a key without quotes', '{a:1}', 1],
  ['single quotes', "{'a':1}", 1],
  ['no colon', '{"a" 1}', 5],
  ['no value', '{"a":}', 5],
  ['the end where a value should be', '{"a":', 5],
  ['no comma', '{"a":1 "b":2}', 7],
  ['a trailing comma', '{"a":1,}', 7],
  ['a trailing comma in an array', '{"a":[1,]}', 8],
  ['only a comma', '{,}', 1],
  ['the wrong bracket', '{"a":[1}}', 7],
  ['the wrong brace', '{"a":{"b":1]}', 11],
  ['a second document', '{}{}', 2],
  ['NUL after the document', '{}\u0000', 2],
  ['a byte order mark', '\ufeff{}', 0],
  ['NUL in a string', '{"a":"\u0000"}', 6],
  ['a raw line break in a string', '{"a":"\n"}', 6],
  ['an unknown escape', '{"a":"\\x41"}', 6],
  ['a short \\u', '{"a":"\\u12g4"}', 6],
  ['a \\u at the end', '{"a":"\\u1', 6],
  ['a leading zero', '{"a":01}', 5],
  ['a minus alone', '{"a":-}', 6],
  ['a plus', '{"a":+1}', 5],
  ['no digit after the point', '{"a":1.}', 7],
  ['no digit before the point', '{"a":.5}', 5],
  ['no digit in the exponent', '{"a":1e+}', 8],
  ['NaN', '{"a":NaN}', 5],
  ['Infinity', '{"a":Infinity}', 5],
  ['True', '{"a":True}', 5],
  ['a cut literal', '{"a":tru}', 5],
  ['a longer literal', '{"a":nulls}', 9],
  ['a comment', '{/* x */}', 1],
  ['a form feed as white space', '{\f}', 1],
  ['a no-break space', '{\u00a0}', 1],
];
for (const [name, text, at] of MALFORMED) {
  t.test(`refuses ${name}`, async (t) => {
    const failure = refusal(scan(text));
    t.equal(failure.code, 'malformed_json');
    t.equal(failure.at, at);
    t.match(failure.message, new RegExp(`at byte ${at}`));
  });
}

t.test('a key that comes twice is refused at every level, however it is spelled', async (t) => {
  t.same(refusal(scan('{"model":"a","stream":true,"model":"b"}')).code, 'duplicate_key');
  t.same(refusal(scan('{"a":1,"\\u0061":2}')).code, 'duplicate_key');
  t.same(refusal(scan('{"é":1,"\\u00e9":2}')).code, 'duplicate_key');
  t.same(refusal(scan('{"":1,"":2}')).code, 'duplicate_key');
  const nested = refusal(scan('{"x":1,"messages":[{"role":"user","content":"","role":"system"}]}'));
  t.equal(nested.code, 'duplicate_key');
  t.equal(nested.param, 'messages', 'the top-level key is named');
  t.ok(scan('{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}').ok, 'the same key in different objects is no duplicate');
  t.ok(scan('{"a":{"b":1},"b":1,"c":{"b":1}}').ok, 'keys of a closed object are forgotten');
  t.ok(scan('{"__proto__":1,"constructor":2,"toString":3}').ok);
  const long = 'k'.repeat(100);
  t.same(refusal(scan(`{"${long}":1,"${long}":2}`)).code, 'duplicate_key');
  t.ok(scan(`{"${long}":1,"${long}x":2}`).ok);
});

t.test('duplicates are found in large objects too, inside and outside of nested ones', async (t) => {
  const many = Array.from({ length: 2_000 }, (_, index) => `"k${index}":{"k${index}":0,"z":[]}`);
  t.ok(scan(`{${many.join(',')}}`).ok);
  for (const index of [0, 11, 12, 13, 1_999]) {
    t.equal(refusal(scan(`{${many.join(',')},"k${index}":1}`)).code, 'duplicate_key', `key ${index} again`);
  }
});

t.test('depth and members are bounded, and a bomb costs nothing but its bytes', async (t) => {
  const nested = (depth: number) => `${'{"a":'.repeat(depth - 1)}{}${'}'.repeat(depth - 1)}`;
  t.ok(scan(nested(5), { maxDepth: 5 }).ok);
  t.equal(refusal(scan(nested(6), { maxDepth: 5 })).code, 'too_deep');
  t.equal(refusal(scan(`{"a":${'['.repeat(1_000_000)}`)).code, 'too_deep');
  t.equal(refusal(scan(`{"a":${'['.repeat(1_000_000)}`, { maxDepth: 2_000_000 })).code, 'malformed_json');
  t.ok(scan('{"a":{"b":1},"c":2}', { maxDepth: 9, maxMembers: 3 }).ok);
  t.equal(refusal(scan('{"a":{"b":1},"c":2}', { maxDepth: 9, maxMembers: 2 })).code, 'too_deep');
});

t.test('bytes that are not UTF-8 are refused with their place', async (t) => {
  const bad: readonly (readonly number[])[] = [
    [0x80],
    [0xc0, 0x80],
    [0xc1, 0xbf],
    [0xc3],
    [0xc3, 0x28],
    [0xe0, 0x9f, 0x80],
    [0xe2, 0x28, 0xa1],
    [0xe2, 0x82],
    [0xed, 0xa0, 0x80],
    [0xef, 0xbf],
    [0xf0, 0x8f, 0xbf, 0xbf],
    [0xf0, 0x9f, 0x98],
    [0xf4, 0x90, 0x80, 0x80],
    [0xf5, 0x80, 0x80, 0x80],
    [0xff],
    [0xfe, 0xff],
  ];
  for (const sequence of bad) {
    const failure = refusal(scanBytes(0x7b, 0x22, ...sequence, 0x22, 0x3a, 0x31, 0x7d));
    t.equal(failure.code, 'invalid_utf8', sequence.map((byte) => byte.toString(16)).join(' '));
    t.equal(failure.at, 2);
    t.equal(refusal(scanBytes(0x7b, 0x22, ...sequence)).ok, false, 'also at the very end');
  }
  for (const good of ['\u0080', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}']) {
    t.ok(scan(`{"a":"${good}"}`).ok, `U+${good.codePointAt(0)?.toString(16)}`);
  }
});

t.test('an escaped lone surrogate is accepted, as JSON.parse does', async (t) => {
  t.ok(scan('{"a":"\\ud800"}').ok);
  t.ok(scan('{"\\ud800":1,"\\ud801":1}').ok, 'two lone surrogates are two keys');
  t.equal(refusal(scan('{"\\ud800":1,"\\uD800":1}')).code, 'duplicate_key');
});

const FRAGMENTS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"a"',
  '"b"',
  '"\\u0061"',
  '"é"',
  '"\\"',
  '"',
  '\\',
  '0',
  '01',
  '-',
  '-1',
  '1.5',
  '1e9',
  '1E-',
  'true',
  'fals',
  'null',
  ' ',
  '\n',
  '\t',
  '\u0000',
  '\ufeff',
  '"\\ud83d\\ude00"',
  '{"a":1}',
  '{"a":[1,{"b":null}]}',
];

t.test('accepts exactly what JSON.parse accepts: fragments in any order', async () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...FRAGMENTS), { maxLength: 14 }), (fragments) =>
      agrees(encoder.encode(fragments.join(''))),
    ),
    { numRuns: 10_000 },
  );
});

t.test('accepts exactly what JSON.parse accepts: sound documents with damaged bytes', async () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: 'grapheme', maxLength: 5 }), fc.jsonValue({ maxDepth: 4 }), { maxKeys: 5 }),
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 2 }),
      fc.constantFrom(0, 1, 2),
      (value, damage, indent) => {
        const bytes = encoder.encode(JSON.stringify(value, null, indent));
        for (const [place, byte] of damage) if (place < bytes.length) bytes[place] = byte;
        return agrees(bytes);
      },
    ),
    { numRuns: 3_000 },
  );
});

/** Same verdict as the oracle, and for sound documents the same members. A duplicate must be one for the oracle too. */
function agrees(bytes: Uint8Array): boolean {
  const result = scanJson(bytes, { maxDepth: 1_000 });
  const value = parsed(bytes);
  if (!isObject(value)) return !result.ok;
  if (!result.ok) return result.code === 'duplicate_key' && hasFewerKeys(bytes, value);
  const members = result.members.map((member) => [
    member.key,
    parsed(bytes.subarray(member.valueStart, member.valueEnd)),
  ]);
  const expected = Object.entries(value as Record<string, unknown>);
  const sorted = (entries: unknown[][]) =>
    JSON.stringify(entries.toSorted((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1)));
  return sorted(members) === sorted(expected);
}

/** Whether the text spells more keys than the value has, counted by the colons outside of strings. */
function hasFewerKeys(bytes: Uint8Array, value: unknown): boolean {
  const outside = decoder.decode(bytes).replace(/"(?:[^"\\]|\\.)*"/g, '""');
  const spelled = outside.split(':').length - 1;
  const count = (inner: unknown): number => {
    if (typeof inner !== 'object' || inner === null) return 0;
    const own = Array.isArray(inner) ? 0 : Object.keys(inner).length;
    return own + Object.values(inner).reduce((sum: number, next) => sum + count(next), 0);
  };
  return count(value) < spelled;
}

function splice(text: string, edits: { set?: Record<string, string>; remove?: string[] }): string {
  const bytes = encoder.encode(text);
  const result = scanJson(bytes, LIMITS);
  if (!result.ok) throw new Error(result.message);
  return decoder.decode(spliceMembers(bytes, result.members, edits));
}

t.test('splicing keeps every byte that it was not asked to change', async (t) => {
  const text = ' {  "a" : 1.50 , "b":[ 1 ],\n"c" : "\\u00e9"  } ';
  t.equal(splice(text, { set: { a: '2' } }), ' {  "a" : 2 , "b":[ 1 ],\n"c" : "\\u00e9"  } ');
  t.equal(splice(text, { set: { d: 'null' } }), ' {  "a" : 1.50 , "b":[ 1 ],\n"c" : "\\u00e9","d":null  } ');
  t.equal(splice(text, { remove: ['a'] }), ' {  "b":[ 1 ],\n"c" : "\\u00e9"  } ');
  t.equal(splice(text, { remove: ['b'] }), ' {  "a" : 1.50,\n"c" : "\\u00e9"  } ');
  t.equal(splice(text, { remove: ['c'] }), ' {  "a" : 1.50 , "b":[ 1 ]  } ');
  t.equal(splice(text, { remove: ['a', 'b', 'c'] }), ' {    } ');
  t.equal(splice(text, { remove: ['a', 'b', 'c'], set: { d: '1' } }), ' {  "d":1  } ');
  t.equal(splice(text, { remove: ['a'], set: { a: '3' } }), ' {  "a" : 3 , "b":[ 1 ],\n"c" : "\\u00e9"  } ');
  t.equal(splice('{ }', { set: { a: '1', b: '2' } }), '{"a":1,"b":2 }');
  t.equal(splice('{}', { remove: ['x'] }), '{}');
  t.equal(splice('{}', { set: { 'q"\n': '1' } }), '{"q\\"\\n":1}');
  const bytes = encoder.encode(text);
  t.equal(spliceMembers(bytes, [], {}), bytes, 'with nothing to do there is no copy');
});

t.test('splicing means what deleting and assigning would mean', async () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd', 'e');
  fc.assert(
    fc.property(
      fc.dictionary(key, fc.jsonValue({ maxDepth: 2 })),
      fc.dictionary(key, fc.jsonValue({ maxDepth: 1 })),
      fc.array(key, { maxLength: 3 }),
      fc.constantFrom(0, 2),
      (value, set, remove, indent) => {
        const texts = Object.fromEntries(Object.entries(set).map(([name, inner]) => [name, JSON.stringify(inner)]));
        const got = JSON.parse(splice(JSON.stringify(value, null, indent), { set: texts, remove })) as Record<
          string,
          unknown
        >;
        const kept = Object.entries(value).filter(([name]) => !remove.some((key) => key === name));
        const expected = { ...Object.fromEntries(kept), ...set };
        const order = (object: Record<string, unknown>) =>
          JSON.stringify(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)));
        return order(got) === order(expected);
      },
    ),
    { numRuns: 1_000 },
  );
});
