/** Puts together what a node needs to be called by clients directly; nothing of it exists unless `directPort` is set. */
import { isIP } from 'node:net';
import { CodedError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { systemClock } from '../../lib/io/system.ts';
import { createTlsWatch, type TlsWatch } from '../../lib/io/tls_watch.ts';
import type { DirectSettings } from '../workers/relay_messages.ts';
import type { AgentConfig } from './settings.ts';

/** Entries of some 100 bytes each; with tickets of half a minute it is never full below 2,000 calls a second. */
const MAX_USED_TICKETS = 65_536;
const WINDOW_BYTES = 64 * 1024;
const PING_PERIOD_MS = 15_000;
const STALL_TIMEOUT_MS = 60_000;
const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|localhost)$/;
const ANY_ADDRESS = /^(0\.0\.0\.0|::)$/;

export interface DirectParts {
  readonly settings: DirectSettings;
  readonly urlOf: (port: number) => string;
  readonly tls: TlsWatch | undefined;
}

const refusal = (param: string, message: string): CodedError => new CodedError('invalid_config', message, { param });

function watchOf(config: AgentConfig, logger: Logger): TlsWatch | undefined {
  const { directCertFile, directKeyFile, tlsReloadMs: reloadMs } = config;
  if ((directCertFile === undefined) !== (directKeyFile === undefined))
    throw refusal('directCertFile', 'Give both directCertFile and directKeyFile, or neither.');
  if (directCertFile === undefined || directKeyFile === undefined) return undefined;
  return createTlsWatch({
    certificate: 'direct',
    files: {
      cert: { setting: 'directCertFile', file: directCertFile },
      key: { setting: 'directKeyFile', file: directKeyFile },
    },
    reloadMs,
    clock: systemClock,
    logger,
  });
}

/** The part of a URL before the path; a path would be lost, because clients get whole addresses. */
function originOf(url: string): string {
  const { origin, pathname, search } = new URL(url);
  if (pathname !== '/' || search !== '') throw refusal('directUrl', 'directUrl must have no path.');
  return origin;
}

/** @throws CodedError invalid_config */
export function createDirectOf(config: AgentConfig, logger: Logger): DirectParts | undefined {
  const { directPort: port, directHost: host, directUrl, directClockSkewMs, directMaxConnections } = config;
  if (port === undefined) return undefined;
  const tls = watchOf(config, logger);
  if (tls === undefined && !LOOPBACK.test(host))
    throw refusal('directHost', 'Without directCertFile the direct listener may be on a loopback address only.');
  if (directUrl === undefined && ANY_ADDRESS.test(host))
    throw refusal('directUrl', 'With a directHost that stands for every address, give directUrl.');
  const origin = directUrl && originOf(directUrl);
  const scheme = tls === undefined ? 'http' : 'https';
  const name = isIP(host) === 6 ? `[${host}]` : host;
  return {
    tls,
    urlOf: (bound) => origin ?? `${scheme}://${name}:${bound}`,
    settings: {
      host,
      port,
      ...(tls === undefined ? {} : { tls: tls.current() }),
      clockSkewMs: directClockSkewMs,
      maxConnections: directMaxConnections,
      maxUsedTickets: MAX_USED_TICKETS,
      windowBytes: WINDOW_BYTES,
      pingPeriodMs: PING_PERIOD_MS,
      stallTimeoutMs: STALL_TIMEOUT_MS,
    },
  };
}
