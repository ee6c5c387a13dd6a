/**
 * Puts together what brings the files of models to this host, and what gives them to other nodes of the fleet; of the
 * latter nothing exists unless `modelsServePort` is set.
 */
import { isIP } from 'node:net';
import path from 'node:path';
import { CodedError } from '../../lib/errors.ts';
import { isHttpsOrigin } from '../../lib/https_origin.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import type { ModelPeers__Output } from '../../proto/gen/fleet/v1/ModelPeers.ts';
import type { ModelReading } from '../../proto/gen/fleet/v1/ModelReading.ts';
import type { TicketIssuer__Output } from '../../proto/gen/fleet/v1/TicketIssuer.ts';
import { createFactsReader, type FactsReader } from '../adapters/model_files/facts_reader.ts';
import { createHubModels, type HubModel } from '../adapters/model_files/hub_models.ts';
import { createModelFiles, type RunningModelFiles } from '../adapters/model_files/model_files.ts';
import type { StoredFiles } from '../adapters/model_files/models_folder.ts';
import { PeerBook } from '../adapters/model_files/peer_book.ts';
import { createRootModels } from '../adapters/model_files/root_models.ts';
import { createModelServing, type ModelServing, type ModelServingDeps } from '../adapters/model_serving.ts';
import { processEnvironment } from '../config.ts';
import { pathModel } from '../core/model_files/facts.ts';
import { hubCacheOf, isHubModel } from '../core/model_files/hub_cache.ts';
import type { SchedulerLinks } from '../ports.ts';
import type { RunLoop } from '../run_loop/run_loop.ts';
import type { ServedModel } from '../workers/model_door_messages.ts';
import type { Parts } from './parts.ts';
import type { AgentConfig } from './settings.ts';

/** A peer that is silent is left sooner than a source: there is somebody else to ask. */
const PEER_TIMES = { answerTimeoutMs: 10_000, stallTimeoutMs: 10_000 };
const STALL_TIMEOUT_MS = 60_000;
const ANY_ADDRESS = /^(0\.0\.0\.0|::)$/;

/** The files of models of one agent, and what its sessions bring to them. */
export interface AgentModels {
  readonly files: RunningModelFiles;
  readonly looks: ModelLooks;
  connected(scheduler: string): void;
  onTicketIssuer(scheduler: string, issuer: TicketIssuer__Output): void;
  onModelPeers(scheduler: string, peers: ModelPeers__Output): void;
  setTls(tls: TlsMaterial): void;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export const modelsFolder = ({ modelsDir }: AgentConfig, dataFolder: string): string =>
  modelsDir === undefined ? path.join(dataFolder, 'models') : path.resolve(modelsDir);

/** The hub's caches of this host, and the environment that engines inherit. */
export interface HubLooks {
  readonly modelsIn: (cache: string) => readonly HubModel[];
  readonly inherited: Readonly<Record<string, string | undefined>>;
}

/** What is known of models besides what brings them here. */
export interface ModelLooks {
  readonly facts: FactsReader;
  /** Folders of models that nobody brought. */
  readonly rootModels: () => readonly string[];
  readonly hub?: HubLooks;
}

const refusal = (message: string): CodedError => new CodedError('invalid_config', message, { param: 'modelsServeUrl' });

/** How other nodes reach the door. @throws CodedError invalid_config */
export function servingUrl({ modelsServeHost: host, modelsServeUrl: url }: AgentConfig): (port: number) => string {
  if (url !== undefined) {
    if (!isHttpsOrigin(url)) throw refusal('modelsServeUrl must be https and have no path.');
    const { origin } = new URL(url);
    return () => origin;
  }
  if (ANY_ADDRESS.test(host))
    throw refusal('With a modelsServeHost that stands for every address, give modelsServeUrl.');
  const name = isIP(host) === 6 ? `[${host}]` : host;
  return (port) => `https://${name}:${port}`;
}

/** Only what a checksum judges is given away. */
const servedOf = ({ source, resolved, folder, entries }: StoredFiles): ServedModel => ({
  source,
  resolved,
  folder,
  files: entries.flatMap(({ sum, ...rest }) => (sum === undefined ? [] : [{ ...rest, sum }])),
});

function createServingOf(
  { config, logger, tls }: Parts,
  links: SchedulerLinks,
  figures: ModelServingDeps['figures'],
): ModelServing | undefined {
  const { modelsServePort: port, modelsServeHost: host } = config;
  if (port === undefined) return undefined;
  return createModelServing({
    settings: {
      nodeName: config.nodeName,
      host,
      port,
      tls: tls.current(),
      clockSkewMs: config.directClockSkewMs,
      maxTransfers: config.modelsServeTransfers,
      bandwidth: config.modelsServeBandwidth,
      stallTimeoutMs: STALL_TIMEOUT_MS,
    },
    links,
    urlOf: servingUrl(config),
    figures,
    log: logger,
  });
}

/** @throws CodedError invalid_config */
export function createModelsOf(parts: Parts, links: SchedulerLinks, figures: ModelServingDeps['figures']): AgentModels {
  const { config, logger, dataFolder, tls } = parts;
  const { modelsBudgetBytes, modelsBandwidth, modelsConnections, modelCredentialsFile, hubUrl, nodeName } = config;
  const serving = createServingOf(parts, links, figures);
  const peers = config.modelsFromPeers
    ? new PeerBook({ nodeName, tls: () => tls.current(), times: PEER_TIMES, connections: modelsConnections })
    : undefined;
  const nowMs = (): number => systemClock.monotonicMs();
  const facts = createFactsReader(nowMs);
  const folder = modelsFolder(config, dataFolder);
  const files = createModelFiles({
    facts,
    folder,
    bandwidth: modelsBandwidth,
    connections: modelsConnections,
    hubUrl,
    environment: processEnvironment(),
    random: systemRandom,
    logger,
    onStored: (stored) => serving?.setModels(stored.map(servedOf)),
    ...(peers === undefined ? {} : { peers }),
    ...(modelsBudgetBytes === undefined ? {} : { budgetBytes: modelsBudgetBytes }),
    ...(modelCredentialsFile === undefined ? {} : { credentialsFile: modelCredentialsFile }),
  });
  return {
    files,
    looks: {
      facts,
      rootModels: createRootModels({ roots: config.modelRoots, except: folder, nowMs }),
      hub: { modelsIn: createHubModels(nowMs), inherited: inheritedHub(processEnvironment()) },
    },
    connected: (scheduler) => serving?.connected(scheduler),
    onTicketIssuer: (scheduler, issuer) => serving?.onTicketIssuer(scheduler, issuer),
    onModelPeers: (scheduler, told) => peers?.set(scheduler, told),
    setTls: (set) => serving?.setTls(set),
    async start() {
      await files.start();
      serving?.start();
    },
    async stop() {
      await serving?.stop();
      await files.stop();
    },
  };
}

/** What an engine inherits of what decides about the cache (core/launch_plan.ts). */
const inheritedHub = ({ HOME, HF_HOME }: Readonly<Record<string, string | undefined>>): HubLooks['inherited'] => ({
  HOME,
  HF_HOME,
});

/**
 * Models of the hub in the caches of this host. What cannot be sized, such as one that is fetched just now, is told only
 * where an engine here loads it.
 */
function hubModelReadings(loop: Pick<RunLoop, 'engines'>, { facts, hub }: ModelLooks): ModelReading[] {
  if (hub === undefined) return [];
  const { modelsIn, inherited } = hub;
  const specs = loop.engines().flatMap(({ life }) => (isHubModel(life.spec) ? [life.spec] : []));
  const used = new Set(specs.map(({ model }) => model));
  const environments = [inherited, ...specs.map(({ environment }) => ({ ...inherited, ...environment }))];
  const caches = new Set(environments.flatMap((each) => hubCacheOf(each) ?? []));
  const told = new Map<string, ModelReading>();
  for (const { name, commit, folder } of [...caches].flatMap(modelsIn)) {
    const read = facts.of(folder);
    const wanted = used.has(name);
    if (read === undefined || told.has(name) || (read.problem !== '' && !wanted)) continue;
    told.set(name, { source: name, state: 'ready', message: '', resolved: commit, wanted, facts: read });
  }
  return [...told.values()];
}

/**
 * Models that engines here load from a path as it is written, and those that lie in the roots: nobody brought them, and what
 * they need is told all the same.
 */
export function pathModelReadings(loop: Pick<RunLoop, 'engines'>, looks: ModelLooks): ModelReading[] {
  const { facts, rootModels } = looks;
  const used = new Set(loop.engines().flatMap(({ life }) => pathModel(life.spec) ?? []));
  const paths = [...new Set([...used, ...rootModels()])].flatMap((source): ModelReading[] => {
    const read = facts.of(source);
    if (read === undefined) return [];
    return [{ source, state: 'ready', message: '', resolved: '', wanted: used.has(source), facts: read }];
  });
  return [...paths, ...hubModelReadings(loop, looks)];
}
