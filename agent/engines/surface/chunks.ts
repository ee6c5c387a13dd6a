/**
 * The JSON of answers and stream chunks in vLLM's shapes. The constant parts of a request's chunks are built once;
 * a token then costs one concatenation.
 */
import type { Plan } from './requests.ts';

/** What is constant over one request. */
export interface ChunkHead {
  readonly id: string;
  readonly created: number;
  readonly model: string;
}

/** How one choice of a stream is written; every function returns a whole SSE frame. */
export interface ChunkWriter {
  /** First frame of a chat choice: the role, and the prompt's ids where asked. */
  role(promptIds: readonly number[] | undefined): string;
  /** Text, already JSON-escaped, with the ids it came from. `finish` ends the choice. */
  text(json: string, ids: readonly number[], extra: ChunkExtra): string;
  /** One member list of a chat delta, such as `"tool_calls":[...]`. */
  delta(members: string, ids: readonly number[], extra: ChunkExtra): string;
}

export interface ChunkExtra {
  readonly logprobs?: string | undefined;
  readonly finish?: string | undefined;
  readonly stopReason?: string | number | undefined;
  /** Completions carry the prompt's ids in their first chunk. */
  readonly promptIds?: readonly number[] | undefined;
}

export const NO_EXTRA: ChunkExtra = {};

export const DONE_FRAME = 'data: [DONE]\n\n';

/** The writer of choice `index`. */
export function chunkWriter(plan: Plan, head: ChunkHead, index: number): ChunkWriter {
  const object = plan.kind === 'chat' ? 'chat.completion.chunk' : 'text_completion';
  const start = `data: {"id":${JSON.stringify(head.id)},"object":"${object}","created":${head.created},"model":${JSON.stringify(head.model)},"choices":[{"index":${index},`;
  const idsOf = (ids: readonly number[]): string => (plan.returnTokenIds ? `[${ids.join(',')}]` : 'null');
  if (plan.kind === 'completion') {
    const textStart = `${start}"text":"`;
    return {
      role: () => '',
      text: (json, ids, extra) =>
        `${textStart}${json}","logprobs":${extra.logprobs ?? 'null'},"finish_reason":${quoted(extra.finish)},"stop_reason":${stopReason(extra)},"prompt_token_ids":${extra.promptIds ? `[${extra.promptIds.join(',')}]` : 'null'},"token_ids":${idsOf(ids)}}],"usage":null}\n\n`,
      delta: () => '',
    };
  }
  const deltaStart = `${start}"delta":{`;
  const textStart = `${deltaStart}"content":"`;
  const plainEnd = '"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n';
  const rest = (ids: readonly number[], extra: ChunkExtra): string =>
    `},"logprobs":${extra.logprobs ?? 'null'},"finish_reason":${quoted(extra.finish)}${extra.finish === undefined ? '' : `,"stop_reason":${stopReason(extra)}`},"token_ids":${idsOf(ids)}}]}\n\n`;
  return {
    role: (promptIds) =>
      `${deltaStart}"role":"assistant","content":""},"logprobs":null,"finish_reason":null,"token_ids":null}],"prompt_token_ids":${promptIds ? `[${promptIds.join(',')}]` : 'null'}}\n\n`,
    text: (json, ids, extra) =>
      extra === NO_EXTRA && !plan.returnTokenIds
        ? textStart + json + plainEnd
        : `${textStart}${json}"${rest(ids, extra)}`,
    delta: (members, ids, extra) => deltaStart + members + rest(ids, extra),
  };
}

function quoted(finish: string | undefined): string {
  return finish === undefined ? 'null' : `"${finish}"`;
}

function stopReason(extra: ChunkExtra): string {
  return extra.stopReason === undefined ? 'null' : JSON.stringify(extra.stopReason);
}

/** Token counts of a whole request. */
export interface UsageCounts {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
}

/** OpenAI's usage object as JSON text. */
export function usageJson(counts: UsageCounts): string {
  const total = counts.promptTokens + counts.completionTokens;
  return `{"prompt_tokens":${counts.promptTokens},"total_tokens":${total},"completion_tokens":${counts.completionTokens},"prompt_tokens_details":{"cached_tokens":${counts.cachedTokens}}}`;
}

/** The frame with `choices: []` that closes a stream whose client asked for usage. */
export function usageFrame(plan: Plan, head: ChunkHead, counts: UsageCounts): string {
  const object = plan.kind === 'chat' ? 'chat.completion.chunk' : 'text_completion';
  return `data: {"id":${JSON.stringify(head.id)},"object":"${object}","created":${head.created},"model":${JSON.stringify(head.model)},"choices":[],"usage":${usageJson(counts)}}\n\n`;
}

/** One choice of a plain answer. */
export interface WholeChoice {
  readonly index: number;
  readonly text: string;
  readonly ids: readonly number[];
  readonly promptIds: readonly number[];
  readonly finish: string;
  readonly stopReason: string | number | undefined;
  readonly logprobs: string | undefined;
  readonly toolCalls: readonly { id: string; name: string; arguments: string }[];
}

/** The body of a plain answer. */
export function wholeAnswer(plan: Plan, head: ChunkHead, choices: readonly WholeChoice[], counts: UsageCounts): string {
  const chat = plan.kind === 'chat';
  const idsOf = (ids: readonly number[]): string => (plan.returnTokenIds ? `[${ids.join(',')}]` : 'null');
  const parts = choices.map((choice) => {
    const end = `"logprobs":${choice.logprobs ?? 'null'},"finish_reason":"${choice.finish}","stop_reason":${stopReason(choice)},"token_ids":${idsOf(choice.ids)}`;
    if (!chat)
      return `{"index":${choice.index},"text":${JSON.stringify(choice.text)},${end},"prompt_token_ids":${idsOf(choice.promptIds)}}`;
    const calls = choice.toolCalls.map((call) => ({
      id: call.id,
      type: 'function',
      function: { name: call.name, arguments: call.arguments },
    }));
    const content = calls.length > 0 ? null : choice.text;
    return `{"index":${choice.index},"message":{"role":"assistant","content":${JSON.stringify(content)},"refusal":null,"tool_calls":${JSON.stringify(calls)}},${end}}`;
  });
  const first = choices[0];
  const tail = chat ? `,"prompt_token_ids":${first ? idsOf(first.promptIds) : 'null'}` : '';
  return `{"id":${JSON.stringify(head.id)},"object":"${chat ? 'chat.completion' : 'text_completion'}","created":${head.created},"model":${JSON.stringify(head.model)},"choices":[${parts.join(',')}],"usage":${usageJson(counts)}${tail}}`;
}
