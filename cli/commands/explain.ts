/**
 * `sophia explain`: why a request went where it went, and why a model's engines are or are not serving.
 */
import type { Command } from 'commander';
import type { QueueWait__Output } from '../../proto/gen/admin/v1/QueueWait.ts';
import type { Candidate__Output } from '../../proto/gen/admin/v1/Candidate.ts';
import type { CostPart__Output } from '../../proto/gen/admin/v1/CostPart.ts';
import type { ProviderTurn__Output } from '../../proto/gen/admin/v1/ProviderTurn.ts';
import type { RoutingDecision__Output } from '../../proto/gen/admin/v1/RoutingDecision.ts';
import { details, printable, table } from '../output.ts';
import { withAdmin } from '../session.ts';

/** A large fleet is planned for in a thread, after what was asked before. */
const PLAN_DEADLINE_MS = 180_000;

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

const MODES: Readonly<Record<string, string>> = {
  panic: 'More than half of the engines had open breakers, so none was heeded.',
  stale: 'Only engines of nodes that have fallen silent were left.',
};

const figure = (value: number): string => String(Math.round(value * 100) / 100);

/** "wait 3.1 + prefill 12": parts of no value are left out. */
const partsText = (parts: readonly CostPart__Output[]): string =>
  parts
    .filter((part) => part.value !== 0)
    .map((part) => `${part.name} ${figure(part.value)}`)
    .join(' + ');

/** What the table leaves out: in a large fleet only the best engines and some of the refused are kept. */
function restText({ engines, refused, candidates }: RoutingDecision__Output): string {
  if (engines <= candidates) return '';
  const reasons = Object.entries(refused).map(([by, count]) => `${count} by ${by}`);
  const why = reasons.length === 0 ? '' : `; refused in all: ${reasons.join(', ')}`;
  return `and ${engines - candidates} more of ${engines} engines${why}`;
}

/** Each try with its engines: the cheapest first, then those that were refused. */
function decisionsText(
  decisions: readonly RoutingDecision__Output[],
  candidates: readonly Candidate__Output[],
): readonly string[] {
  let from = 0;
  const lines = decisions.flatMap((decision, at) => {
    const own = candidates.slice(from, from + decision.candidates);
    from += decision.candidates;
    const rows = own.map((entry) => [
      entry.engine,
      entry.picked ? 'yes' : '',
      entry.cost === undefined ? undefined : figure(entry.cost),
      partsText(entry.parts),
      entry.refusedBy,
      entry.detail,
    ]);
    return [
      ...(decisions.length > 1 ? [at === 0 ? '' : '\n', `try ${at + 1}`] : []),
      table(['engine', 'picked', 'cost', 'made of', 'refused by', 'detail'], rows, 'no engine was looked at'),
      restText(decision),
      MODES[decision.mode] ?? '',
    ].filter((line) => line !== '');
  });
  return lines.length === 0 ? ['no engine was looked at'] : lines;
}

function providersText(turns: readonly ProviderTurn__Output[]): readonly string[] {
  if (turns.length === 0) return [];
  const rows = turns.map(({ provider, outcome, why }) => [provider, outcome.replace('_', ' '), why]);
  return ['', table(['provider', 'outcome', 'why'], rows, '')];
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
            ...decisionsText(answer?.decisions ?? [], answer?.candidates ?? []),
            ...providersText(answer?.providers ?? []),
          ].join('\n'),
        );
      }),
    );
  explain
    .command('deployment <name>')
    .description(
      "why each node does or doesn't do for a deployment (or engine/NAME), and what each engine is to its model; or to a model",
    )
    .action((name: string, _flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('ExplainDeployment', { model: name }, PLAN_DEADLINE_MS);
        const engines = (): string =>
          table(
            ['engine', 'state', 'verdict'],
            (answer?.engines ?? []).map((entry) => [
              entry.engine,
              entry.state.replace('ENGINE_STATE_', '').toLowerCase(),
              entry.verdict,
            ]),
            `No engine has anything to do with the model "${answer?.model ?? name}".`,
          );
        print.result(answer, () => [...(answer?.lines ?? []).map(printable), engines()].join('\n'));
      }),
    );
}
