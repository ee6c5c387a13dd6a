/** Puts together what brings the files of models to this host. */
import path from 'node:path';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import type { ModelReading } from '../../proto/gen/fleet/v1/ModelReading.ts';
import { createFactsReader, type FactsReader } from '../adapters/model_files/facts_reader.ts';
import { createModelFiles, type RunningModelFiles } from '../adapters/model_files/model_files.ts';
import { createRootModels } from '../adapters/model_files/root_models.ts';
import { processEnvironment } from '../config.ts';
import { pathModel } from '../core/model_files/facts.ts';
import type { RunLoop } from '../run_loop/run_loop.ts';
import type { Parts } from './parts.ts';
import type { AgentConfig } from './settings.ts';

export const modelsFolder = ({ modelsDir }: AgentConfig, dataFolder: string): string =>
  modelsDir === undefined ? path.join(dataFolder, 'models') : path.resolve(modelsDir);

/** What is known of models besides what brings them here. */
export interface ModelLooks {
  readonly facts: FactsReader;
  /** Folders of models that nobody brought. */
  readonly rootModels: () => readonly string[];
}

export type Models = RunningModelFiles & ModelLooks;

export function createModelsOf({ config, logger, dataFolder }: Parts): Models {
  const { modelsBudgetBytes, modelsBandwidth, modelsConnections, modelCredentialsFile, hubUrl } = config;
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
    ...(modelsBudgetBytes === undefined ? {} : { budgetBytes: modelsBudgetBytes }),
    ...(modelCredentialsFile === undefined ? {} : { credentialsFile: modelCredentialsFile }),
  });
  // A method of a class, which must keep its `this`.
  return Object.assign(files, {
    facts,
    rootModels: createRootModels({ roots: config.modelRoots, except: folder, nowMs }),
  });
}

/**
 * Models that engines here load from a path as it is written, and those that lie in the roots: nobody brought them, and what
 * they need is told all the same.
 */
export function pathModelReadings(loop: Pick<RunLoop, 'engines'>, { facts, rootModels }: ModelLooks): ModelReading[] {
  const used = new Set(loop.engines().flatMap(({ life }) => pathModel(life.spec) ?? []));
  return [...new Set([...used, ...rootModels()])].flatMap((source) => {
    const read = facts.of(source);
    if (read === undefined) return [];
    return [{ source, state: 'ready', message: '', resolved: '', wanted: used.has(source), facts: read }];
  });
}
