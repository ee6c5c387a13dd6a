/**
 * The simulated engine's vocabulary: special tokens, all 256 bytes (so that any text has tokens), letter pairs, words,
 * bits of code and parts of multi-byte characters. Token ids are stable: they depend on nothing but this file.
 */

export const BOS = 1;
export const EOS = 2;
/** Ends a chat prompt; the answer's place is counted from it. */
export const ANSWER_START = 5;

const SPECIALS = ['<|pad|>', '<|bos|>', '<|eos|>', '<|message|>', '<|end|>', '<|answer|>'] as const;
const FIRST_BYTE = 16;

const WORDS =
  'the of and to in is that it was for on are as with his they at be this have from or one had by word but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first water been call who oil its now find long down day did get come made may part over new sound take only little work know place year live me back give most very after thing our just name good sentence man think say great where help through much before line right too mean old any same tell boy follow came want show also around form three small set put end does another well large must big even such because turn here why ask went men read need land different home us move try kind hand picture again change off play spell air away animal house point page letter mother answer found study still learn should engine token stream model cache batch prompt server scheduler agent lane frame simulated answer request queue latency memory kernel tensor weight layer graph node replica'.split(
    ' ',
  );
const CODE = [
  'const ',
  'return ',
  'function ',
  ' => ',
  '();\n',
  ' = ',
  '{ ',
  ' }',
  '[0]',
  '"key": ',
  'true',
  'null',
  '\n',
  '\n\n',
  '```\n',
  '// ',
  ' === ',
  '\\n',
  '"',
  "'",
  '<b>',
  '</b>',
  '&amp;',
  '\t',
];
const PUNCTUATION = ['.', ',', ';', ':', '!', '?', ' -', ' (', ')', '. ', ', ', '...', '2', '42', '1984', '%'];
const WHOLE = [
  ' café',
  ' naïve',
  'ß',
  ' über',
  ' 東京',
  '中文',
  ' мир',
  ' שלום',
  '🎉',
  '👍',
  '€',
  ' —',
  '…',
  'e\u0301',
];
/** Tokens that are only the head of a character, and what may follow each of them. */
const PARTIAL: readonly (readonly [string, readonly string[]])[] = [
  ['f09f98', ['80', '82', '8a', '8e']],
  ['f09f', ['9a80', '9880', '8c8d', '92bb']],
  ['e4b8', ['ad', '96', '8a']],
  ['20e2', ['9c93', '82ac', '8692']],
  ['e286', ['92', '90']],
  ['c3', ['a9', 'bc', 'b1', 'a5']],
];

export interface Vocabulary {
  readonly size: number;
  /** Bytes of each token; special tokens have the bytes of their name. */
  readonly bytes: readonly Uint8Array[];
  readonly words: readonly number[];
  readonly punctuation: readonly number[];
  readonly code: readonly number[];
  readonly whole: readonly number[];
  readonly partial: readonly number[];
  /** After such a token only one of these keeps the text whole. */
  readonly following: ReadonlyMap<number, readonly number[]>;
  isSpecial(id: number): boolean;
  byteToken(byte: number): number;
}

/** Builds the vocabulary; the same in every process and every run. */
export function buildVocabulary(): Vocabulary {
  const bytes: Uint8Array[] = [];
  const idByKey = new Map<string, number>();
  const add = (value: Buffer): number => {
    const key = value.toString('latin1');
    const known = idByKey.get(key);
    if (known !== undefined) return known;
    idByKey.set(key, bytes.length);
    bytes.push(value);
    return bytes.length - 1;
  };
  const texts = (list: readonly string[]): number[] => list.map((text) => add(Buffer.from(text, 'utf8')));
  for (let id = 0; id < FIRST_BYTE; id += 1) bytes.push(Buffer.from(SPECIALS[id] ?? `<|reserved_${id}|>`));
  for (let byte = 0; byte < 256; byte += 1) add(Buffer.from([byte]));
  const words = texts(WORDS.map((word) => ` ${word}`));
  texts(WORDS);
  const punctuation = texts(PUNCTUATION);
  const code = texts(CODE);
  const whole = texts(WHOLE);
  const following = new Map<number, readonly number[]>();
  const partial: number[] = [];
  for (const [head, tails] of PARTIAL) {
    const id = add(Buffer.from(head, 'hex'));
    partial.push(id);
    following.set(
      id,
      tails.map((tail) => add(Buffer.from(tail, 'hex'))),
    );
  }
  texts(letterPairs());
  const byteToken = (byte: number): number => FIRST_BYTE + byte;
  return {
    size: bytes.length,
    bytes,
    words,
    punctuation,
    code,
    whole,
    partial,
    following,
    isSpecial: (id) => id < FIRST_BYTE,
    byteToken,
  };
}

function letterPairs(): string[] {
  const letters = 'abcdefghijklmnopqrstuvwxyz';
  const pairs: string[] = [];
  for (const first of letters) {
    pairs.push(` ${first}`);
    for (const second of letters) pairs.push(first + second, ` ${first}${second}`);
  }
  return pairs;
}
