/** What the doors are told of reconcile, from memory. A scheduler that does not lead answers too, by its own picture. */
import { observe } from '../../core/reconcile/observe.ts';
import type { Declared } from '../../core/reconcile/contract.ts';
import type { PassInput } from '../../core/reconcile/decide.ts';
import { foreseenTargets } from '../../core/reconcile/rollout_targets.ts';
import { rolloutReport } from '../../core/reconcile/rollout_report.ts';
import { rolloutSummary } from '../../core/rollout/text.ts';
import { explainLines, overlaid, planView } from '../../core/reconcile/foresee.ts';
import { engineReports, type InventoryFacts, quarantineReports } from '../../core/reconcile/inventory.ts';
import { statusOf } from '../../core/reconcile/status.ts';
import type { ReconcileView } from '../../core/resources/contract.ts';
import type { Leader } from './leader.ts';
import type { Reconciler } from './reconciler.ts';
import type { RolloutRunner } from './rollout_runner.ts';

/** A reason is looked up again after this long: planning for each look at a list would be dear. */
const REASON_MS = 2000;
const MAX_REASONS = 1000;
/** The first node that refuses says most. */
const REFUSED = /: (refused by|takes no further one)/;

interface Reason {
  readonly seq: number;
  readonly atMs: number;
  readonly text: string;
}

/**
 * @param rollouts absent: revisions are changed one replica at a time, and nobody keeps a history
 * @param configuredNodes names of the nodes that the configuration orders engines of
 */
export function createReconcileView(
  reconciler: Reconciler,
  leader: Leader,
  rollouts?: RolloutRunner,
  configuredNodes: readonly string[] = [],
): ReconcileView {
  const reasons = new Map<string, Reason>();
  const current = (): { input: PassInput; declared: Declared } => {
    const declared = reconciler.declared();
    const input = reconciler.input(declared);
    // What nobody has looked at yet is shown as it would begin.
    return { input: rollouts === undefined ? input : { ...input, targets: foreseenTargets }, declared };
  };
  const inventory = (): InventoryFacts => {
    const { input, declared } = current();
    const { fleet, storeMs } = input;
    const names = new Set([...configuredNodes, ...fleet.nodes.keys()]);
    const configured = new Map([...names].map((node) => [node, reconciler.configured(node)]));
    return { declared, fleet, configured, storeMs };
  };
  const whyPending = (name: string, { input, declared }: ReturnType<typeof current>): string => {
    const before = reasons.get(name);
    if (before?.seq === declared.seq && input.nowMs - before.atMs < REASON_MS) return before.text;
    const lines = explainLines(input, name);
    const text = lines.find((line) => REFUSED.test(line)) ?? lines[0] ?? '';
    if (reasons.size >= MAX_REASONS) reasons.clear();
    reasons.set(name, { seq: declared.seq, atMs: input.nowMs, text });
    return text;
  };
  return {
    leader: () => ({ isLeader: leader.isLeading(), holder: leader.holder, epoch: leader.epoch }),
    deploymentStatus(name) {
      const now = current();
      const { declared, input } = now;
      const deployment = declared.deployments.get(name);
      if (deployment === undefined) return undefined;
      const status = statusOf(deployment, declared.places, input.fleet, () => whyPending(name, now));
      const summary = rolloutSummary(deployment.rollout);
      if (summary !== undefined) return { ...status, rollout: summary };
      const old = declared.places.filter((each) => each.deployment === name && each.revision !== deployment.revision);
      if (old.length === 0) return status;
      const isNew = (each: (typeof old)[number]): boolean =>
        each.deployment === name && each.revision === deployment.revision;
      const ready = declared.places.filter(
        (each) => isNew(each) && observe(input.fleet, each).state === 'ready',
      ).length;
      const rollout = `to ${deployment.revision}: ${ready} of ${deployment.spec.replicas} are ready, ${old.length} old ones are left`;
      return { ...status, rollout };
    },
    plan(applied, deleted) {
      const { input, declared } = current();
      return planView(input, overlaid(declared, applied, deleted));
    },
    explainDeployment: (name) => explainLines(current().input, name),
    rollout(name) {
      const { input, declared } = current();
      const deployment = declared.deployments.get(name);
      if (deployment === undefined) return undefined;
      return rolloutReport(deployment, declared.rolloutOrders.get(name)?.order, rollouts?.look(input, name));
    },
    engines: () => engineReports(inventory()),
    quarantines: () => quarantineReports(inventory()),
  };
}
