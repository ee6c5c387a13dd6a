/** What every piece of an agent is built from, and the pieces that only need that: the relay and the sessions. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { CodedError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { systemRandom } from '../../lib/io/system.ts';
import type { TlsWatch } from '../../lib/io/tls_watch.ts';
import { createRelay, type RelayOptions, type ThreadedRelay } from '../adapters/relay.ts';
import { createSchedulerLinks, type SchedulerLinkOptions } from '../adapters/scheduler_link.ts';
import type { SchedulerLinks } from '../ports.ts';
import type { AgentConfig } from './settings.ts';

const RELAY_RESTART_DELAY_MS = 500;

export interface Parts {
  readonly config: AgentConfig;
  readonly logger: Logger;
  readonly tls: TlsWatch;
  readonly dataFolder: string;
  readonly sessionId: string;
}

/** @throws CodedError invalid_config */
export function makeDataFolder(dataDir: string): string {
  const folder = path.resolve(dataDir);
  try {
    mkdirSync(path.join(folder, 'engines'), { recursive: true, mode: 0o700 });
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    throw new CodedError('invalid_config', `Setting dataDir: the folder ${folder} cannot be made (${why}).`, {
      param: 'dataDir',
      cause,
    });
  }
  return folder;
}

/** @param onThreadLost a relay thread has crashed with these requests open */
export function createRelayOf(
  parts: Parts,
  onThreadLost: NonNullable<RelayOptions['onThreadLost']>,
  direct: RelayOptions['direct'],
): ThreadedRelay {
  const { config, logger, tls, sessionId } = parts;
  return createRelay({
    workers: config.relayWorkers,
    settings: {
      nodeName: config.nodeName,
      sessionId,
      tls: tls.current(),
      engineConnectTimeoutMs: config.engineConnectTimeoutMs,
      engineIdleSocketMs: config.engineIdleSocketMs,
      laneHoldMs: config.laneHoldMs,
      laneGraceMs: config.laneGraceMs,
      maxRetainedBytes: config.maxRetainedBytes,
      maxJournalTokens: config.maxJournalTokens,
      batchEmbeddings: config.batchEmbeddings,
      maxEventBytes: config.maxEventBytes,
      maxMessageBytes: config.maxMessageBytes,
      maxRequests: config.maxRequests,
      keepaliveMs: config.keepaliveMs,
      reconnectBaseMs: config.reconnectBaseMs,
      reconnectCapMs: config.reconnectCapMs,
    },
    logger,
    restartDelayMs: RELAY_RESTART_DELAY_MS,
    heapMb: config.relayHeapMb,
    onThreadLost,
    ...(direct === undefined ? {} : { direct }),
  });
}

export function createLinksOf(parts: Parts, onDropped: SchedulerLinkOptions['onDropped']): SchedulerLinks {
  const { config, logger, tls } = parts;
  return createSchedulerLinks({
    schedulers: config.schedulers,
    tls: () => tls.current(),
    keepaliveMs: config.keepaliveMs,
    welcomeTimeoutMs: config.welcomeTimeoutMs,
    backoff: {
      baseMs: config.reconnectBaseMs,
      capMs: config.reconnectCapMs,
      minMs: Math.min(50, config.reconnectBaseMs),
    },
    random: systemRandom,
    logger,
    onDropped,
  });
}
