/**
 * `sophia plan defragment`: moves that would make whole GPUs of scattered free memory. Without a flag it only shows the plan;
 * `--apply` has the leader carry out exactly what was shown, `--cancel` begins no further move.
 */
import { type Command, Option } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import type { PlanDefragmentationResponse__Output } from '../../proto/gen/admin/v1/PlanDefragmentationResponse.ts';
import { type Printer, printable } from '../output.ts';
import type { AdminConnection } from '../rpc.ts';
import { withAdmin } from '../session.ts';
import { countOption, reasonOption } from './arguments.ts';
import { confirm } from './confirm.ts';

const PRESET_MOVES = 16;
const MAX_MOVES = 256;
/** A plan of a large fleet is made in a thread, after those that were asked for before. */
const DEADLINE_MS = 180_000;

interface Flags {
  readonly maxMoves: number;
  readonly apply?: boolean;
  readonly cancel?: boolean;
  readonly plan?: string;
  readonly yes?: boolean;
  readonly reason: string;
}

const planText = ({ lines, moves, plan }: PlanDefragmentationResponse__Output): string =>
  [...lines.map(printable), `Plan${plan === '' ? '' : ` ${plan}`}: ${moves.length} to move.`].join('\n');

async function order(
  admin: AdminConnection,
  request: { verb: 'apply' | 'cancel'; plan?: string; maxMoves?: number; reason: string },
) {
  const answer = await admin.call('OrderDefragmentation', request, DEADLINE_MS);
  if (!answer) throw new CodedError('internal', 'The scheduler gave no answer.');
  return answer;
}

async function cancel(admin: AdminConnection, print: Printer, reason: string): Promise<void> {
  const answer = await order(admin, { verb: 'cancel', reason });
  print.result(answer, () => `Ended: ${answer.moves} moves do not begin any more; what has begun goes on to its end.`);
}

async function apply(admin: AdminConnection, print: Printer, flags: Flags, shown: PlanDefragmentationResponse__Output) {
  const { maxMoves, reason, yes = false } = flags;
  const { plan = shown.plan } = flags;
  if (!yes && plan === shown.plan) await confirm(`${planText(shown)}\n`, 'Carry it out?', 'Nothing was ordered.');
  else if (!yes) await confirm(`${planText(shown)}\n`, `Carry out ${printable(plan)}?`, 'Nothing was ordered.');
  const answer = await order(admin, { verb: 'apply', plan, maxMoves, reason });
  print.result({ ...shown, ordered: answer }, () =>
    [
      ...(yes ? [planText(shown)] : []),
      `Ordered ${answer.moves} moves, as ${answer.correlationId}. Each starts anew first and stops then; nothing has to stop before.`,
      'How far it is: `sophia plan defragment`, `sophia event list -f`. To begin no further move: `--cancel`.',
    ].join('\n'),
  );
}

export function addDefragment(plan: Command): void {
  plan
    .command('defragment')
    .description(
      'which replicas to move so that GPUs become empty, what it gains and costs; moves nothing without --apply',
    )
    .addOption(
      countOption('--max-moves <n>', 'at most so many moves, each a start of an engine', PRESET_MOVES, MAX_MOVES),
    )
    .addOption(new Option('--apply', 'have it carried out; asks first').conflicts('cancel'))
    .option('--plan <name>', 'with --apply: only if it is still this plan, as it was shown')
    .option('--yes', 'do not ask')
    .option('--cancel', 'begin no further move of what is being carried out')
    .addOption(reasonOption())
    .action((flags: Flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const { maxMoves, reason } = flags;
        if (flags.cancel === true) return cancel(admin, print, reason);
        const shown = await admin.call('PlanDefragmentation', { maxMoves }, DEADLINE_MS);
        if (!shown) throw new CodedError('internal', 'The scheduler gave no answer.');
        const hasSomething = shown.moves.length > 0 || flags.plan !== undefined;
        if (flags.apply === true && hasSomething) return apply(admin, print, flags, shown);
        print.result(shown, () => planText(shown));
        return undefined;
      }),
    );
}
