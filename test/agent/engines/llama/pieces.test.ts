/** The parts of the embedded engine that need no weights: bytes of tokens, chat template, choice of sequence, batches. */
import fc from 'fast-check';
import t from 'tap';
import { compileChatTemplate } from '../../../../agent/engines/llama/chat_template.ts';
import { chooseSlot, planBatch, reusablePrefix } from '../../../../agent/engines/llama/slots.ts';
import { createVocabulary } from '../../../../agent/engines/llama/vocabulary.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

t.test('byte-level tokens give their exact bytes, so a character may span two tokens', async (t) => {
  // U+1F642 is f0 9f 99 82; GPT-2 spells these bytes as below. U+0120 is a space.
  const tokens = [
    '<s>',
    'Hi',
    '\u0120there',
    '\u00f0\u0141',
    '\u013b\u0124',
    '<extra> \u{1f600}',
    '\u0100\u0142\u00a1\u0143\u00ae',
  ];
  const vocabulary = createVocabulary({ model: 'gpt2', tokens, token_type: [3, 1, 1, 1, 1, 4, 1] }, () => '');
  t.equal(vocabulary.exact, true);
  t.equal(vocabulary.size, 7);
  t.same([...vocabulary.bytes([6], true)], [0x00, 0xa0, 0xa1, 0xad, 0xae], 'at the borders of the printable range');
  t.equal(text(vocabulary.bytes([1, 2], true)), 'Hi there');
  t.same([...vocabulary.bytes([3], true)], [0xf0, 0x9f]);
  t.same([...vocabulary.bytes([4], true)], [0x99, 0x82]);
  t.equal(text(vocabulary.bytes([3, 4], true)), '\u{1f642}');
  t.equal(text(vocabulary.bytes([5], true)), '<extra> \u{1f600}', 'a literal token is taken as it stands');
  t.equal(text(vocabulary.bytes([0, 1], true)), 'Hi', 'special tokens are skipped');
  t.equal(text(vocabulary.bytes([0, 1], false)), '<s>Hi', 'or shown');
  t.equal(vocabulary.bytes([-1, 7, 1.5], true).length, 0, 'unknown ids give nothing');
});

t.test('SentencePiece tokens: U+2581 is a space and <0xAB> is one byte', async (t) => {
  const tokens = ['<unk>', '\u2581Hello', '<0xE2>', '<0x82>', '<0xAC>', '<0x41>'];
  const vocabulary = createVocabulary({ model: 'llama', tokens, token_type: [2, 1, 6, 6, 6, 1] }, () => '');
  t.equal(text(vocabulary.bytes([1, 2, 3, 4], true)), ' Hello\u20ac');
  t.equal(text(vocabulary.bytes([5], true)), '<0x41>', 'only tokens of the byte type are bytes');
});

t.test('an unknown kind of tokenizer falls back to the library and says so', async (t) => {
  const vocabulary = createVocabulary({ model: 'other', tokens: ['a', 'b'], token_type: [1, 1] }, (id) => `piece${id}`);
  t.equal(vocabulary.exact, false);
  t.equal(text(vocabulary.bytes([0, 1], true)), 'piece0piece1');
});

const TEMPLATE =
  "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}[{{ m.role }}]{{ m.content | trim }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

t.test('the template of the file is rendered, the last message left open when it is to be continued', async (t) => {
  const template = compileChatTemplate(TEMPLATE, { bos: '', eos: '</s>' });
  const messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Well, ' },
  ];
  t.equal(
    template(messages.slice(0, 1), { addGenerationPrompt: true, continueFinal: false }),
    '[user]Hi</s>[assistant]',
  );
  t.equal(template(messages, { addGenerationPrompt: false, continueFinal: false }), '[user]Hi</s>[assistant]Well,</s>');
  t.equal(
    template(messages, { addGenerationPrompt: true, continueFinal: true }),
    '[user]Hi</s>[assistant]Well, ',
    'open, its last space kept',
  );
  t.throws(() => template([{ role: 'tool', content: 'x' }], { addGenerationPrompt: true, continueFinal: false }), {
    message: /no tools here/,
  });
  const silent = compileChatTemplate('{{ messages[0].content }}', { bos: '', eos: '' });
  t.throws(() => silent(messages, { addGenerationPrompt: false, continueFinal: true }), { message: /chat template/ });
  const plain = compileChatTemplate(undefined, { bos: '', eos: '' });
  t.equal(
    plain(messages.slice(0, 1), { addGenerationPrompt: true, continueFinal: false }),
    '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
  );
});

t.test('a prompt goes to the idle sequence that holds most of it, else to the one unused for longest', async (t) => {
  const slot = (cached: number[], lastUse: number, busy = false) => ({ cached, lastUse, busy });
  t.same(chooseSlot([slot([1], 5), slot([1, 2, 3], 9), slot([1, 2, 3, 4], 1, true)], [1, 2, 3, 4]), {
    index: 1,
    reused: 3,
  });
  t.same(chooseSlot([slot([9], 5), slot([8], 2), slot([], 3)], [1, 2]), { index: 1, reused: 0 });
  t.equal(chooseSlot([slot([], 0, true)], [1]), undefined);
  t.equal(reusablePrefix([1, 2, 3], [1, 2, 3]), 2, 'the last token of the prompt is always evaluated');
});

t.test('a batch holds every decoding sequence, never more than its size, and serves somebody', async () => {
  const wishes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(wishes, fc.integer({ min: 12, max: 64 }), (lengths, size) => {
      const items = lengths.map((length) => ({ tokens: new Array<number>(length).fill(0) }));
      const plan = planBatch(items, size);
      const total = plan.reduce((sum, part) => sum + part.processAmount, 0);
      const decoding = items.filter((item) => item.tokens.length === 1);
      const wanted = lengths.reduce((sum, length) => sum + length, 0);
      return (
        total === Math.min(size, wanted) &&
        plan.every((part) => part.processAmount >= 1 && part.processAmount <= part.item.tokens.length) &&
        decoding.every((item) => plan.some((part) => part.item === item))
      );
    }),
  );
});
