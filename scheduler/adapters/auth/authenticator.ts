/**
 * The one gate behind every door: takes the `authorization` value of a call, an API key or a token, and says who it is.
 * Whatever goes wrong on the way, the answer is no.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import { createFailureBrake, type BrakeLimits } from '../../core/access/brake.ts';
import { keyIsGood, parseKey } from '../../core/access/keys.ts';
import type { Authenticator, Identity, KeyStore } from '../../ports.ts';
import type { JwtVerifier } from './jwt.ts';
import { sha256 } from './sha256.ts';

export interface AuthenticatorDeps {
  readonly keys: KeyStore;
  /** Absent: only API keys are taken. */
  readonly jwt?: JwtVerifier;
  readonly clock: Clock;
  readonly brake?: Partial<BrakeLimits>;
}

const DEFAULT_BRAKE: BrakeLimits = { maxFailures: 20, forgiveEveryMs: 3_000, maxAddresses: 10_000 };
const BEARER = /^Bearer +([A-Za-z0-9._~+/=-]+) *$/i;
const MAX_AUTHORIZATION_CHARACTERS = 17 * 1024;

function invalidCredential(cause?: unknown): CodedError {
  // One sentence for every reason: the caller must not learn which part was right.
  return new CodedError('unauthenticated', 'The credential is not valid.', cause === undefined ? {} : { cause });
}

function readBearer(authorization: string | undefined): string {
  if (authorization === undefined || authorization === '') {
    throw new CodedError('unauthenticated', 'No credential was sent; send `authorization: Bearer <key>`.');
  }
  const match = authorization.length > MAX_AUTHORIZATION_CHARACTERS ? null : BEARER.exec(authorization);
  if (match === null) throw invalidCredential();
  return match[1] as string;
}

export function createAuthenticator(deps: AuthenticatorDeps): Authenticator {
  const { keys, jwt, clock } = deps;
  const brake = createFailureBrake({ ...DEFAULT_BRAKE, ...deps.brake });

  const byKey = (text: string): Identity => {
    const parsed = parseKey(text);
    const record = parsed === undefined ? undefined : keys.find(parsed.id);
    // Done in every case, also for a key of no known shape: the time says nothing.
    const isGood = keyIsGood(record, parsed?.secret ?? text, sha256, clock.wallMs());
    if (!isGood || record === undefined) throw invalidCredential();
    return {
      tenant: record.tenant,
      subject: `key:${record.id}`,
      roles: new Set(record.roles),
      weight: record.weight,
      keyId: record.id,
    };
  };
  const identify = async (text: string): Promise<Identity> => {
    if (text.startsWith('sk-') || jwt === undefined) return byKey(text);
    return await jwt.verify(text);
  };

  return {
    async authenticate(authorization, peer) {
      const waitMs = brake.waitMs(peer, clock.monotonicMs());
      try {
        const text = readBearer(authorization);
        // Many callers share the address of a proxy. A right key costs one hash and cannot be guessed, so it passes
        // even when others at the address fail; a signature is dear to verify and waits.
        return await (waitMs > 0 ? byKey(text) : identify(text));
      } catch (thrown) {
        if (waitMs > 0) {
          const message = 'Too many failed authentications from this address.';
          throw new CodedError('too_many_failures', message, { retryAfterMs: waitMs });
        }
        const error = thrown instanceof CodedError ? thrown : invalidCredential(thrown);
        // A call without any credential is no guess: browsers and probes make them by the dozen.
        if (authorization !== undefined && authorization !== '') brake.recordFailure(peer, clock.monotonicMs());
        throw error;
      }
    },
  };
}
