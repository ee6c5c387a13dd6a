/** Puts together what brings the files of models to this host. */
import path from 'node:path';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import type { ModelReading } from '../../proto/gen/fleet/v1/ModelReading.ts';
import { createFactsReader, type FactsReader } from '../adapters/model_files/facts_reader.ts';
import { createModelFiles, type RunningModelFiles } from '../adapters/model_files/model_files.ts';
import { processEnvironment } from '../config.ts';
import { pathModel } from '../core/model_files/facts.ts';
import type { RunLoop } from '../run_loop/run_loop.ts';
import type { Parts } from './parts.ts';
import type { AgentConfig } from './settings.ts';

export const modelsFolder = ({ modelsDir }: AgentConfig, dataFolder: string): string =>
  modelsDir === undefined ? path.join(dataFolder, 'models') : path.resolve(modelsDir);

export type Models = RunningModelFiles & { readonly facts: FactsReader };

export function createModelsOf({ config, logger, dataFolder }: Parts): Models {
  const { modelsBudgetBytes, modelsBandwidth, modelsConnections, modelCredentialsFile, hubUrl } = config;
  const facts = createFactsReader(() => systemClock.monotonicMs());
  const files = createModelFiles({
    facts,
    folder: modelsFolder(config, dataFolder),
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
  return Object.assign(files, { facts });
}

/** Models that engines here load from a path as it is written: nobody brought them, and what they need is told all the same. */
export function pathModelReadings(loop: Pick<RunLoop, 'engines'>, { of }: FactsReader): ModelReading[] {
  const paths = new Set(loop.engines().flatMap(({ life }) => pathModel(life.spec) ?? []));
  return [...paths].flatMap((source) => {
    const facts = of(source);
    return facts === undefined ? [] : [{ source, state: 'ready', message: '', resolved: '', wanted: true, facts }];
  });
}
