/**
 * Which functions a scripted engine calls and with what arguments. A simulated engine has no opinion, so the rule is
 * plain and documented: a forced choice is followed, otherwise the functions that the last user message names are called.
 */
import { ApiError } from './api_error.ts';
import type { ChatMessage } from './backend.ts';

const MAX_CALLS = 16;
const MAX_DEPTH = 6;

/** One function call that the engine will stream; `arguments` is JSON text without line breaks. */
export interface ScriptedCall {
  readonly name: string;
  readonly arguments: string;
}

interface ToolLike {
  readonly function: { readonly name: string; readonly parameters?: Record<string, unknown> | null | undefined };
}

export interface ToolQuestion {
  readonly tools: readonly ToolLike[];
  readonly choice: 'none' | 'auto' | 'required' | { function: { name: string } };
  readonly parallel: boolean;
  readonly messages: readonly ChatMessage[];
  readonly canScript: boolean;
}

/** The calls to make, at most MAX_CALLS, empty for a plain text answer. ApiError 400 where the choice cannot be met. */
export function planTools(question: ToolQuestion): ScriptedCall[] {
  const { tools, choice } = question;
  if (choice === 'none') return [];
  const forced = choice !== 'auto';
  if (tools.length === 0) {
    if (forced) throw new ApiError(400, 'When using `tool_choice`, `tools` must be set.', 'tool_choice');
    return [];
  }
  if (!question.canScript) {
    if (forced) throw new ApiError(400, 'This engine does not support a forced tool_choice.', 'tool_choice');
    return [];
  }
  if (typeof choice === 'object') {
    const named = tools.find((item) => item.function.name === choice.function.name);
    if (named === undefined) {
      throw new ApiError(
        400,
        `The tool specified in \`tool_choice\` does not match any of the specified \`tools\``,
        'tool_choice',
      );
    }
    return [callOf(named)];
  }
  const last = question.messages.at(-1);
  const asked = last?.role === 'user' ? last.content : '';
  const wanted = tools
    .map((item) => ({ item, at: asked.indexOf(item.function.name) }))
    .filter((found) => found.at >= 0)
    .sort((a, b) => a.at - b.at)
    .map((found) => found.item);
  const first = tools[0];
  if (wanted.length === 0 && choice === 'required' && first !== undefined) wanted.push(first);
  return wanted.slice(0, question.parallel ? MAX_CALLS : 1).map(callOf);
}

function callOf(item: ToolLike): ScriptedCall {
  return { name: item.function.name, arguments: JSON.stringify(valueOf(item.function.parameters ?? {}, 'value', 0)) };
}

/** A value that satisfies the common part of JSON schema: first enum, constants, required members, one item of an array. */
export function valueOf(schema: unknown, name: string, depth: number): unknown {
  if (typeof schema !== 'object' || schema === null || depth > MAX_DEPTH) return null;
  const node = schema as Record<string, unknown>;
  if ('const' in node) return node['const'];
  if ('default' in node) return node['default'];
  if (Array.isArray(node['enum']) && node['enum'].length > 0) return node['enum'][0];
  const options = node['anyOf'] ?? node['oneOf'];
  if (Array.isArray(options) && options.length > 0) return valueOf(options[0], name, depth + 1);
  const type = Array.isArray(node['type']) ? node['type'][0] : node['type'];
  switch (type) {
    case 'string':
      return `simulated ${name}`;
    case 'integer':
    case 'number':
      return typeof node['minimum'] === 'number' ? node['minimum'] : 1;
    case 'boolean':
      return true;
    case 'null':
      return null;
    case 'array':
      return [valueOf(node['items'], name, depth + 1)];
    default:
      return objectOf(node, depth);
  }
}

function objectOf(node: Record<string, unknown>, depth: number): Record<string, unknown> {
  const properties = (
    typeof node['properties'] === 'object' && node['properties'] !== null ? node['properties'] : {}
  ) as Record<string, unknown>;
  const required = Array.isArray(node['required'])
    ? node['required'].filter((key): key is string => typeof key === 'string')
    : Object.keys(properties);
  const out: Record<string, unknown> = {};
  for (const key of required) out[key] = valueOf(properties[key], key, depth + 1);
  return out;
}
