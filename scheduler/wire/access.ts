/** What the doors need to know whom they let in: the data folder, the first key, the issuer of tokens. */
import { randomUUID } from 'node:crypto';
import { access, constants, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CodedError } from '../../lib/errors.ts';
import { randomToken, type TenantId } from '../../lib/ids.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { type AccessLog, createAccessLog } from '../adapters/auth/access_log.ts';
import { openAccessNotes } from '../adapters/auth/access_notes.ts';
import { type JwtVerifier, openJwtVerifier } from '../adapters/auth/jwt.ts';
import { openKeyStore } from '../adapters/auth/key_store.ts';
import { sha256 } from '../adapters/auth/sha256.ts';
import type { SchedulerConfig } from '../config.ts';
import { createKey } from '../core/access/keys.ts';
import type { KeyStore } from '../ports.ts';
import type { Control } from './control.ts';

const LOCAL_TENANT = 'local' as TenantId;

/** @throws CodedError invalid_config */
export async function makeDataFolder(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await access(dataDir, constants.W_OK);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    const text = `Setting dataDir: the folder ${dataDir} cannot be used (${why}).`;
    throw new CodedError('invalid_config', text, { param: 'dataDir', cause });
  }
}

/** The first key of a new installation, for whoever may read the file. */
export async function bootstrapKey(file: string, keys: KeyStore, logger: Logger): Promise<void> {
  if (keys.list().length > 0) return;
  const request = { name: 'bootstrap', tenant: LOCAL_TENANT, roles: ['user', 'operator', 'admin', 'gateway'] as const };
  const { key, record } = createKey(systemRandom, sha256, request, systemClock.wallMs());
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await writeFile(file, `${key}\n`, { mode: 0o600 });
  await keys.add(record, { actor: 'bootstrap', reason: 'the first key of a new installation', correlationId: '' });
  logger.info({ keyId: record.id, file }, 'a first key with every role was made');
}

export type AccessKeys = AccessLog;

/**
 * The keys of this scheduler, whose changes go into the log where there is one.
 * @throws CodedError invalid_config
 */
export async function openAccessLog(
  config: SchedulerConfig,
  logger: Logger,
  { plane }: Pick<Control, 'plane'>,
): Promise<AccessKeys> {
  const keys = await openKeyStore(path.join(config.dataDir, 'keys.json'));
  if (config.store === 'off') return { keys, start: () => undefined, stop: () => Promise.resolve() };
  const newFolder = (): string => randomToken(systemRandom, 8);
  const notes = await openAccessNotes(path.join(config.dataDir, 'access-log.json'), newFolder, (err) =>
    logger.warn({ err }, 'access-log.json is damaged: by whose word keys were changed last is lost'),
  );
  return createAccessLog({
    control: plane,
    keys,
    notes,
    scheduler: config.schedulerId,
    clock: systemClock,
    random: systemRandom,
    newId: randomUUID,
    logger,
  });
}

/** @throws CodedError invalid_config */
export async function openJwt(config: SchedulerConfig): Promise<JwtVerifier | undefined> {
  const { jwtIssuer, jwtAudience, jwtJwksFile, jwtJwksUrl } = config;
  if (jwtIssuer === undefined) return undefined;
  const jwks = jwtJwksFile ?? jwtJwksUrl;
  if (jwks === undefined || (jwtJwksFile !== undefined && jwtJwksUrl !== undefined)) {
    throw new CodedError('invalid_config', 'With jwtIssuer give exactly one of jwtJwksFile and jwtJwksUrl.', {
      param: 'jwtIssuer',
    });
  }
  if (jwtAudience.length === 0) {
    throw new CodedError(
      'invalid_config',
      'With jwtIssuer give jwtAudience: a token for another service must not open this one.',
      {
        param: 'jwtAudience',
      },
    );
  }
  const issuer = {
    issuer: jwtIssuer,
    audiences: jwtAudience,
    jwks,
    claims: { tenant: config.jwtTenantClaim, roles: config.jwtRolesClaim },
    clockToleranceS: config.jwtClockSkewS,
  };
  return openJwtVerifier([issuer], systemClock);
}
