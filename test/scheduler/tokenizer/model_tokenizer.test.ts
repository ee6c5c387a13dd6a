/** Tokenisers from a model's own files: templates, special tokens, remembered pieces, and folders that are not sound. */
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import t from 'tap';
import { createChatPrompt } from '../../../scheduler/workers/chat_prompt.ts';
import { loadTokenizer } from '../../../scheduler/workers/model_tokenizer.ts';
import { CHATML, tokenizerJson, writeModel } from './small_model.ts';

t.test('a text cut at special tokens has the ids of the whole, the first time and when it is remembered', async (t) => {
  const tokenizer = await loadTokenizer(writeModel(t.testdir()));
  const whole = new Tokenizer(tokenizerJson(), {});
  const texts = [
    'hello world',
    '<|im_start|>user\nhello world, hello user<|im_end|>\n<|im_start|>assistant\n',
    'a<|im_end|>  b <|im_end|><|im_end|>\n\n c',
    '',
    `<|im_start|>system\n${'hello world 北京 🙂 '.repeat(300)}<|im_end|>`,
  ];
  for (const text of [...texts, ...texts]) {
    t.strictSame(
      [...tokenizer.idsOf(text, false)],
      whole.encode(text, { add_special_tokens: false }).ids,
      text.slice(0, 20),
    );
  }
  t.strictSame([...tokenizer.idsOf('hello', true)], whole.encode('hello').ids);
});

t.test('what is remembered stays bounded, and the ids right, whatever comes', async (t) => {
  const tokenizer = await loadTokenizer(writeModel(t.testdir()));
  const piece = (i: number): string => `<|im_start|>${`hello ${i} `.repeat(2000)}<|im_end|>`;
  const first = [...tokenizer.idsOf(piece(0), false)];
  for (let i = 1; i < 300; i++) tokenizer.idsOf(piece(i), false);
  t.strictSame([...tokenizer.idsOf(piece(0), false)], first);
});

t.test('messages become the text that the template makes of them', async (t) => {
  const render = createChatPrompt(CHATML, { bos: '', eos: '' });
  t.equal(
    render({
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', text: 'b' },
          ],
        },
      ],
    }),
    '<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\n',
  );
  t.equal(
    render({ messages: [{ role: 'assistant', content: null }], addGenerationPrompt: false }),
    '<|im_start|>assistant\n<|im_end|>\n',
  );
  t.equal(render({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] }), undefined);
  t.equal(render({ messages: [{ role: 'user', content: ['?'] }] }), undefined);
  t.equal(render({ messages: [{ role: 'user', content: [{ type: 'text', text: 7 }] }] }), undefined);
  t.equal(render({ messages: [{ role: 'user', content: 'x' }], continueFinalMessage: true }), undefined);
});

t.test('tools, documents, arguments of calls and of the template reach it as values', async (t) => {
  const source =
    '{{ bos_token }}{{ tools[0].function.name }}|{{ documents[0].title }}|{{ mode }}|{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% for call in m.tool_calls or [] %}{{ call.function.arguments.city }}{% endfor %}{% endfor %}';
  const render = createChatPrompt(source, { bos: '<s>', eos: '' });
  const call = (args: unknown) => ({ type: 'function', function: { name: 'f', arguments: args } });
  t.equal(
    render({
      messages: [
        { role: 'user', content: 'q' },
        { role: 'user', content: [{ type: 'refusal', refusal: 'r' }] },
        {
          role: 'assistant',
          content: null,
          tool_calls: [call('{"city":"Rome"}'), call({ city: 'Oslo' }), call(''), 7],
        },
      ],
      tools: [{ function: { name: 'weather' } }],
      documents: [{ title: 'doc' }],
      templateArguments: { mode: 'fast' },
    }),
    '<s>weather|doc|fast|[q][r]RomeOslo',
  );
});

t.test(
  'a template from a file of its own goes before others; of several the default is taken; none is no fault',
  async (t) => {
    const folder = t.testdir();
    const messages = [{ role: 'user', content: 'x' }];
    const named = [
      { name: 'rag', template: 'no' },
      { name: 'default', template: 'named' },
    ];
    t.equal((await loadTokenizer(writeModel(folder, { chat_template: named }))).chatPrompt?.({ messages }), 'named');
    writeFileSync(path.join(folder, 'chat_template.jinja'), 'from file');
    t.equal((await loadTokenizer(folder)).chatPrompt?.({ messages }), 'from file');
    t.equal((await loadTokenizer(writeModel(t.testdir(), { bos_token: null }))).chatPrompt, undefined);
  },
);

t.test('a tokeniser without special tokens is used whole', async (t) => {
  const folder = writeModel(t.testdir());
  writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify({ ...tokenizerJson(), added_tokens: [] }));
  rmSync(path.join(folder, 'tokenizer_config.json'));
  const tokenizer = await loadTokenizer(folder);
  t.strictSame(
    [...tokenizer.idsOf('hello world', false)],
    new Tokenizer(tokenizerJson(), {}).encode('hello world').ids,
  );
});

t.test('a folder without files, with broken ones or with one beyond all bounds is refused', async (t) => {
  await t.rejects(loadTokenizer(t.testdir()), /no tokenizer.json/);
  await t.rejects(loadTokenizer(path.join(t.testdir(), 'absent\0')));
  const broken = writeModel(t.testdir());
  writeFileSync(path.join(broken, 'tokenizer.json'), '{"added_tokens":7}');
  await t.rejects(loadTokenizer(broken));
  writeFileSync(path.join(broken, 'tokenizer.json'), '{');
  await t.rejects(loadTokenizer(broken), SyntaxError);
  truncateSync(path.join(broken, 'tokenizer.json'), 65 * 1024 * 1024);
  await t.rejects(loadTokenizer(broken), /more than/);
});
