/** `sophia plan defragment`: moves that would make whole GPUs of scattered free memory. A plan only; nothing is moved. */
import type { Command } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import { printable } from '../output.ts';
import { withAdmin } from '../session.ts';
import { countOption } from './arguments.ts';

const PRESET_MOVES = 16;
const MAX_MOVES = 256;
/** A plan of a large fleet is made in a thread, after those that were asked for before. */
const DEADLINE_MS = 180_000;

export function addDefragment(plan: Command): void {
  plan
    .command('defragment')
    .description('which replicas to move so that GPUs become empty, what it gains and costs; moves nothing')
    .addOption(
      countOption('--max-moves <n>', 'at most so many moves, each a start of an engine', PRESET_MOVES, MAX_MOVES),
    )
    .action(({ maxMoves }: { readonly maxMoves: number }, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('PlanDefragmentation', { maxMoves }, DEADLINE_MS);
        if (!answer) throw new CodedError('internal', 'The scheduler gave no answer.');
        print.result(answer, () =>
          [...answer.lines.map(printable), `Plan: ${answer.moves.length} to move.`].join('\n'),
        );
      }),
    );
}
