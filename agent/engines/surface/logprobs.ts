/**
 * Log probabilities in the two shapes of the OpenAI API: one object per token for chat, four parallel lists for
 * completions. Only asked for by evaluation tools, so this is not on the hot path.
 */
import type { Backend } from './backend.ts';
import type { Plan } from './requests.ts';

/** The JSON of the `logprobs` member of a chunk that carries `ids`, the first of which is answer token `position`. */
export function logprobJson(
  plan: Plan,
  backend: Backend,
  ids: readonly number[],
  position: number,
): string | undefined {
  const logprob = backend.logprob?.bind(backend);
  if (logprob === undefined || plan.topLogprobs === undefined) return undefined;
  const top = plan.topLogprobs;
  const named = (id: number) => {
    const bytes = backend.detokenize([id]);
    return { token: Buffer.from(bytes).toString('utf8'), bytes: [...bytes] };
  };
  const rows = ids.map((id, at) => ({ id, ...logprob(id, position + at, top) }));
  if (plan.kind === 'chat') {
    return JSON.stringify({
      content: rows.map((row) => ({
        ...named(row.id),
        logprob: row.logprob,
        top_logprobs: row.top.map((option) => ({ ...named(option.id), logprob: option.logprob })),
      })),
    });
  }
  return JSON.stringify({
    text_offset: rows.map(() => 0),
    token_logprobs: rows.map((row) => row.logprob),
    tokens: rows.map((row) => named(row.id).token),
    top_logprobs: rows.map((row) =>
      Object.fromEntries(row.top.map((option) => [named(option.id).token, option.logprob])),
    ),
  });
}

/** Joins the chunks' logprobs into the one of a plain answer. */
export function mergeLogprobs(kind: Plan['kind'], parts: readonly string[]): string {
  const merged: Record<string, unknown[]> =
    kind === 'chat' ? { content: [] } : { text_offset: [], token_logprobs: [], tokens: [], top_logprobs: [] };
  for (const part of parts) {
    for (const [key, list] of Object.entries(JSON.parse(part) as Record<string, unknown[]>)) merged[key]?.push(...list);
  }
  if (kind === 'completion') {
    let offset = 0;
    merged['text_offset'] = (merged['tokens'] as string[]).map((text) => {
      const at = offset;
      offset += text.length;
      return at;
    });
  }
  return JSON.stringify(merged);
}
