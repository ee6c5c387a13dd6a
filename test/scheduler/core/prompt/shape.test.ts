/** What routing is told of a request by its bytes: lengths, limits, and names of beginnings that agree where prompts do. */
import fc from 'fast-check';
import t from 'tap';
import { BLOCK_TOKENS, blockHashes, MAX_BLOCKS } from '../../../../lib/prefix_hash.ts';
import type { TenantId } from '../../../../lib/ids.ts';
import { byteShape } from '../../../../scheduler/core/prompt/shape.ts';
import type { RequestShape } from '../../../../scheduler/core/routing/contract.ts';
import type { Endpoint } from '../../../../scheduler/ports.ts';

const TENANT = 'acme' as TenantId;

function shapeOf(body: unknown, endpoint: Endpoint = 'chat', model = 'm'): RequestShape {
  const bytes = new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body));
  return byteShape({ model, tenant: TENANT, endpoint, body: bytes });
}

/** Leading blocks that two prompts have in common. */
function common(a: RequestShape, b: RequestShape): number {
  const [left, right] = [a.blocks?.hashes ?? [], b.blocks?.hashes ?? []];
  let blocks = 0;
  while (2 * blocks < left.length && left[2 * blocks] === right[2 * blocks]) blocks++;
  return blocks;
}

const say = (role: string, content: unknown) => ({ role, content });
const LONG = 'A system prompt of some length that every request of the application begins with. '.repeat(8);
const pixels = (seed: number) =>
  `data:image/png;base64,${Buffer.from(Uint8Array.from({ length: 90_000 }, (_, i) => (i * seed) % 251)).toString('base64')}`;
const image = (url: string) => ({ type: 'image_url', image_url: { url } });

t.test('a conversation shares with its earlier turns all but the unfinished end', async (t) => {
  const first = shapeOf({ messages: [say('system', LONG), say('user', 'Hello there, how are you today?')] });
  const second = shapeOf({
    messages: [
      say('system', LONG),
      say('user', 'Hello there, how are you today?'),
      say('assistant', 'Well.'),
      say('user', 'Good.'),
    ],
  });
  t.ok(common(first, second) >= (first.blocks?.hashes.length ?? 0) / 2 - 1);
  t.ok(Math.abs(first.promptTokens - 184) < 10, `${first.promptTokens}`);
  t.equal(common(first, shapeOf({ messages: [say('system', `x${LONG}`), say('user', 'Hello')] })), 0);
});

t.test('tools stand before the messages, and parts never blur into each other', async (t) => {
  const messages = [say('user', LONG)];
  const tools = [{ type: 'function', function: { name: 'get_weather', description: LONG } }];
  const [a, b] = [shapeOf({ messages, tools }), shapeOf({ tools, messages: [say('user', LONG), say('user', 'x')] })];
  t.ok(common(a, b) >= 20);
  t.equal(common(a, shapeOf({ messages })), 0);
});

t.test('salt and model keep beginnings apart; limit and session are read', async (t) => {
  const messages = [say('user', LONG)];
  const plain = shapeOf({ messages });
  t.ok(common(plain, shapeOf({ messages, temperature: 1 })) > 8);
  t.equal(common(plain, shapeOf({ messages, cache_salt: 'tenant-1' })), 0);
  t.equal(common(plain, shapeOf({ messages }, 'chat', 'adapter')), 0);
  t.match(shapeOf({ messages, max_tokens: 7, max_completion_tokens: 9, user: 'u', prompt_cache_key: 'k' }), {
    model: 'm',
    tenant: TENANT,
    maxOutputTokens: 9,
    sessionKey: 'k',
  });
  t.match(shapeOf({ messages, max_tokens: 7, max_completion_tokens: null, user: 'u' }), {
    maxOutputTokens: 7,
    sessionKey: 'u',
  });
  t.equal('maxOutputTokens' in shapeOf({ messages, max_tokens: -1 }), false);
});

t.test('an image costs a fixed number of tokens and is known by its content, where it stands', async (t) => {
  const ask = (url: string, question: string) =>
    shapeOf({ messages: [say('system', LONG), say('user', [image(url), { type: 'text', text: question }])] });
  const [same, other] = [ask(pixels(3), `What is it? ${LONG}`), ask(pixels(3), `What is it? ${LONG} Now say.`)];
  t.ok(common(same, other) > 64 + 10 + 9, `${common(same, other)}`);
  t.ok(same.promptTokens < 1024 + 450, `${same.promptTokens}`);
  const different = common(same, ask(pixels(5), `What is it? ${LONG}`));
  t.ok(different >= 10 && different < 20, 'they agree up to the image');
  t.equal(common(same, shapeOf('{"messages":[{"role":"user","content":"x;base64,')), 0);
});

t.test('prompts that are token ids are counted and named exactly, the first of a list of them', async (t) => {
  const ids = Array.from({ length: 40 }, (_, i) => i * 31);
  const expected = blockHashes({ unit: 'tokens', adapter: 'm' }, ids, BLOCK_TOKENS);
  const shape = shapeOf({ prompt: ids }, 'completions');
  t.equal(shape.promptTokens, 40);
  t.strictSame(shape.blocks?.hashes, expected);
  t.strictSame(
    shapeOf({ prompt: ids.slice(0, 32) }, 'completions').blocks?.hashes,
    expected.slice(0, 2),
    'the last token is computed anew',
  );
  t.strictSame(shapeOf({ prompt: [ids, [1, 2]] }, 'completions').blocks?.hashes, expected);
  t.not(shapeOf({ prompt: 'text' }, 'completions').promptTokens, 40);
  t.equal(shapeOf({ prompt: ['text one', 'text two'] }, 'completions').blocks?.hashes.length, 0);
});

t.test('inputs of embeddings have a length and no prefix, and no answer', async (t) => {
  const shape = shapeOf({ input: LONG }, 'embeddings');
  t.equal(shape.maxOutputTokens, 0);
  t.equal(shape.blocks, undefined);
  t.ok(shape.promptTokens > 100);
});

t.test('a prompt of a million tokens, one of nothing, and what is no body are bounded', async (t) => {
  const huge = shapeOf({
    messages: [say('user', 'word '.repeat(1_000_000)), say('user', [image(pixels(1)), image(pixels(2))])],
  });
  t.equal(huge.blocks?.hashes.length, 2 * MAX_BLOCKS);
  t.ok(huge.promptTokens > 1_000_000);
  t.equal(shapeOf({}).promptTokens, 1);
  t.strictSame(shapeOf('not json at all'), { model: 'm', tenant: TENANT, promptTokens: 4 });
});

t.test('whatever two bodies share at their beginning, in blocks, is what they share by name', async () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 400 }),
      fc.string({ maxLength: 200 }),
      fc.string({ maxLength: 200 }),
      (a, b, c) => {
        const [left, right] = [JSON.stringify(a + b), JSON.stringify(a + c)];
        const [one, two] = [left, right].map((text) => new TextEncoder().encode(text)) as [Uint8Array, Uint8Array];
        let same = 0;
        while (same < Math.min(one.length, two.length) && one[same] === two[same]) same++;
        const blocks = common(
          shapeOf(`{"prompt":${left}}`, 'completions'),
          shapeOf(`{"prompt":${right}}`, 'completions'),
        );
        // Media marks in random text move the cuts.
        if (!left.includes(';base64,')) return blocks === Math.floor(same / 64);
        return true;
      },
    ),
  );
});
