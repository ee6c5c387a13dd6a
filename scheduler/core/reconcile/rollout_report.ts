/** A deployment's rollout as the doors show it. */
import type { RolloutReport } from '../resources/contract.ts';
import type { RolloutInput, RolloutOrder, RolloutOutput } from '../rollout/contract.ts';
import { historyLines, statusLines } from '../rollout/text.ts';
import type { DeploymentResource } from './contract.ts';

export interface RolloutLook {
  readonly asked: RolloutInput;
  readonly out: RolloutOutput;
}

/**
 * @param waiting an order that the leader has not taken up yet
 * @param look what the machine says of it now; undefined: it was not asked
 */
export function rolloutReport(
  { name, revision, rollout }: DeploymentResource,
  waiting: RolloutOrder | undefined,
  look: RolloutLook | undefined,
): RolloutReport {
  const running = rollout?.running ?? null;
  const seen = {
    replicas: look?.asked.replicas ?? [],
    waiting: look?.out.waiting ?? [],
    nowMs: look?.asked.nowMs ?? 0,
  };
  const lines = statusLines(name, rollout, seen);
  if (rollout?.seen !== revision)
    lines.push(`revision ${revision} is asked for, and the leader has not looked at it yet`);
  if (waiting !== undefined)
    lines.push(`${waiting.verb} is ordered by ${waiting.actor}, and the leader has not taken it up yet`);
  return {
    name,
    phase: running?.phase ?? rollout?.history[0]?.outcome ?? '',
    paused: (running?.pause ?? null) !== null,
    revision: running?.to.id ?? rollout?.current?.id ?? '',
    lines,
    history: historyLines(rollout),
  };
}
