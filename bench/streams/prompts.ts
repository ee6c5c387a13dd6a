/** What the streams of the chaos run ask: plain text, many scripts, emoji, code, and both text endpoints. */

export interface Ask {
  readonly name: string;
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

const TEXTS: readonly (readonly [name: string, text: string])[] = [
  ['plain', 'Tell me about the sea.'],
  ['emoji', 'Answer with rockets 🚀🚀🚀 and a family 👨‍👩‍👧‍👦, please 🎉.'],
  ['cyrillic', 'Расскажи про море, пожалуйста.'],
  ['chinese', '请告诉我关于大海的事情。'],
  ['hebrew', 'ספר לי על הים, שלום עולם.'],
  ['accents', 'Café, naïve, über, e\u0301, ﬁ, ½.'],
  ['code', 'Write this in Rust:\n```ts\nconst text = "a\\n\\"b\\"";\nfor (const c of text) console.log(`${c}`);\n```'],
  ['json', 'Explain {"key": [1, 2.5e-3, null, "\\u00e9"], "nested": {"a": "\\\\"}}.'],
];

/** The requests of a run; each answers with `tokens` tokens. */
export function asksOf(model: string, tokens: number): readonly Ask[] {
  const common = { model, stream: true, max_tokens: tokens, temperature: 0, ignore_eos: true };
  const chats = TEXTS.map(([name, content]) => ({
    name,
    path: '/v1/chat/completions',
    body: { ...common, messages: [{ role: 'user', content }] },
  }));
  const completion = {
    name: 'completion',
    path: '/v1/completions',
    body: { ...common, prompt: 'Once upon a time 🌍, by the sea,', stream_options: { include_usage: true } },
  };
  return [...chats, completion];
}
