/** `sophia rollout status|history|pause|resume|undo NAME`: how a deployment changes its revision, and a hand on it. */
import type { Command } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import type { Rollout__Output } from '../../proto/gen/admin/v1/Rollout.ts';
import { printable } from '../output.ts';
import { withAdmin } from '../session.ts';
import { reasonOption } from './arguments.ts';
import { STORE_DEADLINE_MS } from './resources.ts';

const ORDERS = {
  pause: 'keep replicas and shares as they are; a revision that turns bad goes back all the same',
  resume: 'let a paused rollout go on',
  undo: 'go back to the old revision, or, with nothing under way, to the one before',
} as const;

/** @throws CodedError internal */
function required(rollout: Rollout__Output | null | undefined): Rollout__Output {
  if (!rollout) throw new CodedError('internal', 'The scheduler gave no answer.');
  return rollout;
}

function addLook(rollout: Command, verb: 'status' | 'history', description: string, member: 'lines' | 'history'): void {
  rollout
    .command(`${verb} <deployment>`)
    .description(description)
    .action((name: string, _flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const found = required((await admin.call('GetRollout', { name }, STORE_DEADLINE_MS))?.rollout);
        print.result(found, () => found[member].map(printable).join('\n'));
      }),
    );
}

export function addRolloutCommands(program: Command): void {
  const rollout = program.command('rollout').description('how deployments change their revisions');
  addLook(rollout, 'status', 'the rollout under way, or the last one', 'lines');
  addLook(rollout, 'history', 'earlier rollouts, newest first', 'history');
  for (const [verb, description] of Object.entries(ORDERS)) {
    rollout
      .command(`${verb} <deployment>`)
      .description(description)
      .addOption(reasonOption())
      .action((name: string, { reason }: { readonly reason: string }, command: Command) =>
        withAdmin(command, async (admin, print) => {
          const answer = await admin.call('OrderRollout', { name, verb, reason }, STORE_DEADLINE_MS);
          const found = required(answer?.rollout);
          print.result(found, () => found.lines.map(printable).join('\n'));
        }),
      );
  }
}
