/**
 * `sophia explain`: why a request went where it went, and why a model's engines are or are not serving.
 */
import type { Command } from 'commander';
import type { QueueWait__Output } from '../../proto/gen/admin/v1/QueueWait.ts';
import { details, table } from '../output.ts';
import { withAdmin } from '../session.ts';

const sinceStart = (from: number | undefined, to: number | undefined): string | undefined =>
  from === undefined || to === undefined ? undefined : `${to - from} ms`;

/** Undefined for a request that never waited: the line is left out then. */
function queueText(queue: QueueWait__Output | null | undefined): string | undefined {
  if (queue === null || queue === undefined) return undefined;
  const { position, etaMs, waitedMs } = queue;
  if (position === undefined) return `waited ${waitedMs} ms`;
  const eta = etaMs === undefined ? 'its turn cannot be foretold' : `its turn is in about ${Math.ceil(etaMs / 1000)} s`;
  return `place ${position}, waits since ${waitedMs} ms, ${eta}`;
}

export function addExplainCommands(program: Command): void {
  const explain = program.command('explain').description('why a decision was taken');
  explain
    .command('request <id>')
    .description('which engines were looked at for a request, and why one was taken')
    .action((id: string, _flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('ExplainRequest', { requestId: id });
        print.result(answer, () =>
          [
            details([
              ['request', answer?.requestId],
              ['model', answer?.model],
              ['tenant', answer?.tenant],
              ['outcome', [answer?.outcome, answer?.errorCode].filter(Boolean).join(': ')],
              ['policy', answer?.policy],
              ['queue', queueText(answer?.queue)],
              ['to first token', sinceStart(answer?.receivedAtMs, answer?.firstTokenAtMs)],
              ['to the end', sinceStart(answer?.receivedAtMs, answer?.endedAtMs)],
              ['output tokens', answer?.outputTokens],
            ]),
            '',
            table(
              ['engine', 'picked', 'cost', 'refused by', 'detail'],
              (answer?.candidates ?? []).map((entry) => [
                entry.engine,
                entry.picked,
                entry.cost,
                entry.refusedBy,
                entry.detail,
              ]),
              'no engine was looked at',
            ),
          ].join('\n'),
        );
      }),
    );
  explain
    .command('deployment <model>')
    .description("what each engine is to a model, and why it does or doesn't serve it")
    .action((model: string, _flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('ExplainDeployment', { model });
        print.result(answer, () =>
          table(
            ['engine', 'state', 'verdict'],
            (answer?.engines ?? []).map((entry) => [
              entry.engine,
              entry.state.replace('ENGINE_STATE_', '').toLowerCase(),
              entry.verdict,
            ]),
            `No engine has anything to do with the model "${model}".`,
          ),
        );
      }),
    );
}
