/** What the tests of model files share: a service on a temporary folder, a source on this machine, and waits. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  createModelFiles,
  type ModelFilesOptions,
  type RunningModelFiles,
} from '../../../agent/adapters/model_files/model_files.ts';
import type { ModelFilesState } from '../../../agent/ports.ts';
import type { ModelSource } from '../../../agent/core/model_files/source.ts';
import { type SourceOptions, type SourceServer, startSource } from '../../../bench/models/source_server.ts';
import { seededRandom } from '../../../lib/rng.ts';
import { until } from '../../support/waits.ts';

/** The part of a tap test that is used. */
interface Owner {
  teardown(task: () => unknown): void;
}

export function temporary(t: Owner): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-models-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface LogLine {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** Chance that makes every pause the shortest one. */
const NO_CHANCE = { ...seededRandom(1), next: () => 0 };

export async function source(t: Owner, options: SourceOptions): Promise<SourceServer> {
  const server = await startSource(options);
  t.teardown(() => server.close());
  return server;
}

export interface Place {
  readonly folder: string;
  readonly models: RunningModelFiles;
  readonly log: LogLine[];
  state(source: ModelSource): ModelFilesState;
  /** Wants the source and waits until its files are there. */
  bring(source: ModelSource): Promise<Extract<ModelFilesState, { kind: 'ready' }>>;
  /** Waits until it is given up. */
  failed(source: ModelSource): Promise<string>;
}

export async function place(t: Owner, options: Partial<ModelFilesOptions> = {}): Promise<Place> {
  const folder = options.folder ?? path.join(temporary(t), 'models');
  const log: LogLine[] = [];
  const note = (fields: object, message: string): void => void log.push({ fields: { ...fields }, message });
  const models = createModelFiles({
    folder,
    bandwidth: 0,
    connections: 3,
    hubUrl: 'http://127.0.0.1:1',
    environment: {},
    random: NO_CHANCE,
    logger: { info: note, warn: note } as never,
    times: { answerTimeoutMs: 10_000, stallTimeoutMs: 10_000 },
    partBytes: 64 * 1024,
    ...options,
  });
  await models.start();
  t.teardown(() => models.stop());
  const state = (wanted: ModelSource): ModelFilesState => models.stateOf(wanted);
  return {
    folder,
    models,
    log,
    state,
    async bring(wanted) {
      models.setWanted([wanted]);
      const now = (): ModelFilesState => state(wanted);
      await until(() => now().kind !== 'busy', `files of ${wanted.url} (${JSON.stringify(log.slice(-3))})`);
      const end = now();
      if (end.kind !== 'ready') throw new Error(`it ended as ${JSON.stringify(end)}`);
      return end;
    },
    async failed(wanted) {
      models.setWanted([wanted]);
      await until(() => state(wanted).kind === 'failed', `an end of ${wanted.url} (${JSON.stringify(log.slice(-3))})`);
      return (state(wanted) as { message: string }).message;
    },
  };
}

export const hub = (within = '', revision = ''): ModelSource => ({
  url: `hf://maker/model${within === '' ? '' : `/${within}`}`,
  revision,
  sha256: {},
});

export const address = (url: string, sha256: Readonly<Record<string, string>> = {}): ModelSource => ({
  url,
  revision: '',
  sha256,
});

/** A file of credentials that only this user may read. */
export function credentials(t: Owner, content: object): string {
  const file = path.join(temporary(t), 'credentials.yaml');
  writeFileSync(file, JSON.stringify(content), { mode: 0o600 });
  return file;
}
