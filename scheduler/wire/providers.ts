/** Puts providers behind the fleet: their keys are read, and the loop's generator gets its fallbacks. */
import type { Logger } from '../../lib/io/logger.ts';
import type { Metrics } from '../../lib/io/metrics.ts';
import { systemClock } from '../../lib/io/system.ts';
import { createFallbackGenerator } from '../adapters/providers/fallback_generator.ts';
import { createProviderFigures, showProviders } from '../adapters/providers/figures.ts';
import { readKeyFile } from '../adapters/providers/key_file.ts';
import { openAgent, type ProviderAddress } from '../adapters/providers/provider_call.ts';
import type { SchedulerConfig } from '../config.ts';
import { createProviderBook } from '../core/providers/book.ts';
import { modeOfDecision } from '../core/providers/modes.ts';
import { createPlanner } from '../core/providers/plan.ts';
import { createTurnNotes } from '../core/providers/turns.ts';
import { checkAddress, checkRules } from '../core/providers/rules.ts';
import type { ProviderUsage } from '../core/usage/meter.ts';
import type { RunLoop } from '../run_loop.ts';

type Addresses = ReadonlyMap<string, ProviderAddress>;

/** @throws CodedError invalid_config */
async function openAddresses(config: SchedulerConfig): Promise<Addresses> {
  const addresses = new Map<string, ProviderAddress>();
  for (const { name, url: text, leavesFleet, apiKeyFile, maxRunningRequests } of config.providers) {
    const url = new URL(text);
    checkAddress(name, url, leavesFleet);
    addresses.set(name, {
      url,
      apiKey: apiKeyFile === undefined ? undefined : await readKeyFile(name, apiKeyFile),
      agent: openAgent(url, maxRunningRequests),
      connectTimeoutMs: config.providerConnectTimeoutMs,
      idleTimeoutMs: config.providerIdleTimeoutMs,
    });
  }
  return addresses;
}

export interface ProviderParts {
  readonly config: SchedulerConfig;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly usage: ProviderUsage;
}

/**
 * The same loop, with a generator that has fallbacks and names degraded modes.
 * @throws CodedError invalid_config
 */
export async function withProviders(
  loop: RunLoop,
  { config, logger, metrics, usage }: ProviderParts,
): Promise<RunLoop> {
  checkRules(config);
  const addresses = await openAddresses(config);
  const book = createProviderBook(config.providers);
  showProviders(metrics, book);
  const generator = createFallbackGenerator({
    inner: loop.generator,
    planner: createPlanner(config),
    clock: systemClock,
    logger,
    book,
    usage,
    turns: createTurnNotes(loop.inspector.log, systemClock.wallMs),
    figures: createProviderFigures(metrics, config.providers),
    requestTimeoutMs: config.requestTimeoutMs,
    addressOf: (spec) => addresses.get(spec.name) as ProviderAddress,
    modeOf: ({ id, tenant }) => {
      const record = loop.inspector.log.find(id);
      return record?.tenant === tenant ? modeOfDecision(record.decisions.at(-1)?.mode) : undefined;
    },
  });
  return {
    generator,
    fleetSink: loop.fleetSink,
    fleetView: loop.fleetView,
    commander: loop.commander,
    inspector: loop.inspector,
    direct: loop.direct,
    drain: () => loop.drain(),
    idle: async () => void (await Promise.all([loop.idle(), generator.idle()])),
    abortAll(error) {
      loop.abortAll(error);
      generator.abortAll(error);
    },
  };
}
