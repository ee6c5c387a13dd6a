/** `sophia model`: what the fleet serves, and the files of models on its hosts. */
import type { Command } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import type { Model__Output } from '../../proto/gen/admin/v1/Model.ts';
import type { ModelFiles__Output } from '../../proto/gen/admin/v1/ModelFiles.ts';
import { bytesText, details, durationText, table } from '../output.ts';
import { withAdmin } from '../session.ts';
import { engineTable } from './engine_view.ts';

const modelTable = (models: readonly Model__Output[]): string =>
  table(
    ['model', 'ready', 'engines', 'running', 'queued', 'context', 'simulated'],
    models.map((entry) => [
      entry.id,
      entry.readyEngines,
      entry.engines,
      entry.runningRequests,
      entry.queuedRequests,
      entry.contextTokens,
      entry.simulated,
    ]),
    'No model is served. See `sophia engine list`.',
  );

/** What of a model is on a disk, in percent; a model that is not whole is never complete. */
function shareOf({ state, presentBytes, totalBytes }: NonNullable<ModelFiles__Output['reading']>): string | undefined {
  if (state === 'ready') return '100 %';
  if (presentBytes === undefined || totalBytes === undefined || totalBytes === 0) return undefined;
  return `${Math.min(99, Math.floor((presentBytes / totalBytes) * 100))} %`;
}

/** The nodes that gave bytes, with their share in percent of what is there; nothing where all came from the source. */
function fromText({ peers, peerBytes, presentBytes }: NonNullable<ModelFiles__Output['reading']>): string | undefined {
  if (peers === '') return undefined;
  const share = Math.round(((peerBytes ?? 0) / Math.max(1, presentBytes ?? 0)) * 100);
  return `${peers} (${share} %)`;
}

/** Files on the hosts: how far they are, how fast they come and how long that still takes. */
export const fileTable = (files: readonly ModelFiles__Output[]): string =>
  table(
    ['source', 'node', 'state', 'progress', 'size', 'rate', 'eta', 'from', 'wanted', 'what'],
    files.flatMap(({ node, reading }) =>
      reading === null
        ? []
        : [
            [
              reading.source,
              node,
              reading.state,
              shareOf(reading),
              bytesText(reading.totalBytes),
              reading.bytesPerSecond === undefined ? undefined : `${bytesText(reading.bytesPerSecond)}/s`,
              reading.etaMs === undefined ? undefined : durationText(reading.etaMs),
              fromText(reading),
              reading.wanted,
              reading.message,
            ],
          ],
    ),
  );

export function addModelCommands(program: Command): void {
  const model = program.command('model').description('models that the fleet serves');
  model
    .command('list')
    .description('all models')
    .action((_flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('ListModels', {});
        const models = answer?.models ?? [];
        const files = answer?.files ?? [];
        print.result({ models, files }, () =>
          [
            modelTable(models),
            // A fleet whose engines load models as they are written has no such files.
            ...(files.length === 0 ? [] : ['', fileTable(files)]),
          ].join('\n'),
        );
      }),
    );
  model
    .command('show <id>')
    .description('one model and the engines that serve it')
    .action((id: string, _flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const found = (await admin.call('ListModels', {}))?.models.find((entry) => entry.id === id);
        if (found === undefined)
          throw new CodedError('model_not_found', `No engine serves the model "${id}".`, { param: 'id' });
        const engines = ((await admin.call('ListEngines', {}))?.engines ?? []).filter((entry) =>
          entry.event?.models.some((served) => served.id === id),
        );
        print.result({ model: found, engines }, () =>
          [
            details([
              ['model', found.id],
              ['context tokens', found.contextTokens],
              ['simulated', found.simulated],
              ['engines', `${found.readyEngines} ready of ${found.engines}`],
              ['running requests', found.runningRequests],
              ['queued requests', found.queuedRequests],
            ]),
            '',
            engineTable(engines, Date.now()),
          ].join('\n'),
        );
      }),
    );
}
