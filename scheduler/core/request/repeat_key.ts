/**
 * Reads what a client says of a repeated request: `Idempotency-Key`, after the IETF draft of that name, and how many
 * events of the answer it has had (`X-Resume-After`). The request's id in the fleet is made from tenant and key, so that a
 * scheduler that has never seen the request finds it at the agent that runs it.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import type { Endpoint, Identity, RepeatKey } from '../../ports.ts';

export const KEY_HEADER = 'idempotency-key';
export const AFTER_HEADER = 'x-resume-after';

/** Visible ASCII, as in a header; the quotes of a structured field are part of it. */
const KEY = /^[\x21-\x7e]{1,255}$/;
const COUNT = /^\d{1,9}$/;
const ID_CHARACTERS = 40;

export interface Repeated {
  readonly id: RequestId;
  readonly repeat: RepeatKey;
}

/** A hash that nobody can find another text for, as hexadecimal text; the parts are kept apart. */
export type HashOf = (...parts: readonly (string | Uint8Array)[]) => string;

export interface RepeatAsked {
  readonly key: string;
  /** What the client says it has had; undefined: nothing. */
  readonly after: string | undefined;
  readonly tenant: TenantId;
  readonly identity: Identity;
  readonly endpoint: Endpoint;
  readonly body: Uint8Array;
}

/** @throws CodedError invalid_value when the key or the count is malformed */
export function repeatOf(asked: RepeatAsked, hashOf: HashOf): Repeated {
  const { key, after = '0', tenant, identity, endpoint, body } = asked;
  if (!KEY.test(key))
    throw new CodedError('invalid_value', 'The idempotency key must be 1 to 255 visible ASCII characters.', {
      param: KEY_HEADER,
    });
  if (!COUNT.test(after))
    throw new CodedError('invalid_value', `${AFTER_HEADER} must be a count of events.`, { param: AFTER_HEADER });
  return {
    id: `idem-${hashOf(tenant, key).slice(0, ID_CHARACTERS)}` as RequestId,
    repeat: {
      identity: hashOf(identity.tenant, identity.subject),
      body: hashOf(endpoint, body),
      after: Number(after),
    },
  };
}
