/** What may be said on the local admin socket: one JSON object a line, checked before anything is done with it. */
import { z } from 'zod';
import { MAX_TAIL_LINES, VERB_RULES, type VerbName } from '../../../lib/command_verbs.ts';
import { CodedError } from '../../../lib/errors.ts';
import type { Command__Output } from '../../../proto/gen/fleet/v1/Command.ts';

const verbs = Object.keys(VERB_RULES) as [VerbName, ...VerbName[]];

const requestSchema = z.strictObject({
  /** Chosen by the client; every line of the answer carries it. */
  id: z.string().min(1).max(64),
  verb: z.enum(['list', 'show', ...verbs]),
  engine: z.string().max(63).default(''),
  gpu: z.int().min(0).max(255).optional(),
  actor: z.string().max(128).default(''),
  reason: z.string().max(512).default(''),
  sleepLevel: z.int().min(1).max(2).optional(),
  loraName: z.string().max(256).default(''),
  loraPath: z.string().max(4096).default(''),
  tailLines: z.int().min(0).max(MAX_TAIL_LINES).optional(),
  follow: z.boolean().default(false),
  targetId: z.string().max(64).default(''),
});

export type AdminRequest =
  | { readonly kind: 'list'; readonly id: string }
  | { readonly kind: 'show'; readonly id: string; readonly engine: string }
  | { readonly kind: 'cancel'; readonly id: string; readonly targetId: string }
  | { readonly kind: 'command'; readonly id: string; readonly command: Command__Output };

/** @throws CodedError malformed_json */
export function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new CodedError('malformed_json', 'A request is one JSON object on one line.', { cause });
  }
}

/** The id of a request, also of one that is not acceptable, so that its client can tell which one was refused. */
export function idOf(value: unknown): string {
  const parsed = z.looseObject({ id: requestSchema.shape.id }).safeParse(value);
  return parsed.success ? parsed.data.id : '';
}

/** @throws CodedError invalid_value */
export function checkRequest(value: unknown): AdminRequest {
  const parsed = requestSchema.safeParse(value);
  if (!parsed.success) {
    const param = parsed.error.issues[0]?.path.map(String).join('.') || 'request';
    throw new CodedError('invalid_value', `${param} is not acceptable.`, { param });
  }
  const { id, verb, engine, actor, gpu, sleepLevel, tailLines, ...others } = parsed.data;
  if (verb === 'list') return { kind: 'list', id };
  if (verb === 'show') return { kind: 'show', id, engine };
  if (verb === 'COMMAND_VERB_CANCEL') return { kind: 'cancel', id, targetId: others.targetId };
  const command: Command__Output = {
    ...others,
    id,
    verb,
    engine,
    // Whoever can open the socket may say who he is; that it came from here is said by us.
    actor: `local:${actor === '' ? 'unknown' : actor}`,
    follow: others.follow && verb === 'COMMAND_VERB_ENGINE_LOGS',
    ...(gpu === undefined ? {} : { gpu }),
    ...(sleepLevel === undefined ? {} : { sleepLevel }),
    ...(tailLines === undefined ? {} : { tailLines }),
  };
  return { kind: 'command', id, command };
}
