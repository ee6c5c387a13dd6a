/**
 * A tokenising thread: a request's body in, the hashes of its prompt's blocks out, so that neither the template nor the
 * tokeniser ever holds up the loop that relays tokens.
 */
import { workerData } from 'node:worker_threads';
import type { TenantId } from '../../lib/ids.ts';
import { type BodyMembers, memberValue, readMembers, tokenHashes } from '../core/prompt/shape.ts';
import { loadTokenizer, type ModelTokenizer } from './model_tokenizer.ts';
import type { TokenizeAnswer, TokenizeSettings, TokenizeTask } from './tokenize_messages.ts';

const settings = workerData as TokenizeSettings;
const loading = new Map<string, Promise<ModelTokenizer>>();

function tokenizerOf(model: string): Promise<ModelTokenizer> {
  const known = loading.get(model);
  if (known !== undefined) return known;
  const place = settings.tokenizers.find((each) => each.model === model);
  const load =
    place === undefined ? Promise.reject(new Error('The model has no tokeniser.')) : loadTokenizer(place.folder);
  loading.set(model, load);
  return load;
}

function chatText(tokenizer: ModelTokenizer, body: BodyMembers): string | undefined {
  return tokenizer.chatPrompt?.({
    messages: memberValue(body, 'messages') as unknown[],
    tools: memberValue(body, 'tools'),
    documents: memberValue(body, 'documents'),
    addGenerationPrompt: memberValue(body, 'add_generation_prompt'),
    continueFinalMessage: memberValue(body, 'continue_final_message'),
    templateArguments: memberValue(body, 'chat_template_kwargs'),
  });
}

/** The prompt's text and whether the tokeniser adds its own tokens, which it does for a plain prompt unless told not to. */
function promptText(
  tokenizer: ModelTokenizer,
  task: TokenizeTask & { kind: 'prompt' },
  body: BodyMembers,
): { readonly text: string; readonly special: boolean } | undefined {
  // An operator's own template is not rendered here.
  if (body.members.has('chat_template')) return undefined;
  const wanted = memberValue(body, 'add_special_tokens');
  if (task.endpoint === 'chat') {
    const text = chatText(tokenizer, body);
    return text === undefined ? undefined : { text, special: wanted === true };
  }
  const prompt = memberValue(body, 'prompt');
  const first: unknown = Array.isArray(prompt) ? prompt[0] : prompt;
  return typeof first === 'string' ? { text: first, special: wanted !== false } : undefined;
}

export async function tokenize(task: TokenizeTask): Promise<TokenizeAnswer> {
  const tokenizer = await tokenizerOf(task.model);
  if (task.kind === 'load') return undefined;
  const body = readMembers(task.body);
  if (body === undefined) return undefined;
  const prompt = promptText(tokenizer, task, body);
  if (prompt === undefined) return undefined;
  const ids = tokenizer.idsOf(prompt.text, prompt.special);
  return { tokens: ids.length, hashes: tokenHashes({ ...task, tenant: '' as TenantId }, body, ids) };
}
