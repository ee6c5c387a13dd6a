/** Puts together what brings the files of models to this host. */
import path from 'node:path';
import { systemRandom } from '../../lib/io/system.ts';
import { createModelFiles, type RunningModelFiles } from '../adapters/model_files/model_files.ts';
import { processEnvironment } from '../config.ts';
import type { Parts } from './parts.ts';
import type { AgentConfig } from './settings.ts';

export const modelsFolder = ({ modelsDir }: AgentConfig, dataFolder: string): string =>
  modelsDir === undefined ? path.join(dataFolder, 'models') : path.resolve(modelsDir);

export function createModelsOf({ config, logger, dataFolder }: Parts): RunningModelFiles {
  const { modelsBudgetBytes, modelsBandwidth, modelsConnections, modelCredentialsFile, hubUrl } = config;
  return createModelFiles({
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
}
