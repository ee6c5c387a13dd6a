/** What the doors are told of reconcile, from memory. A scheduler that does not lead answers too, by its own picture. */
import { observe } from '../../core/reconcile/observe.ts';
import type { Declared } from '../../core/reconcile/contract.ts';
import type { PassInput } from '../../core/reconcile/decide.ts';
import { foreseenTargets } from '../../core/reconcile/rollout_targets.ts';
import { rolloutReport } from '../../core/reconcile/rollout_report.ts';
import { rolloutSummary } from '../../core/rollout/text.ts';
import { defragmentTask, explainLines, explainTask, overlaid, planTask } from '../../core/reconcile/foresee.ts';
import { gpuSizes, type GpuSize, memoryNeed, memoryText } from '../../core/reconcile/memory_need.ts';
import { KNOWS_NOTHING } from '../../core/reconcile/model_book.ts';
import { engineReports, type InventoryFacts, quarantineReports } from '../../core/reconcile/inventory.ts';
import { moveOrderText, planName } from '../../core/reconcile/moves.ts';
import { statusOf } from '../../core/reconcile/status.ts';
import type { DeploymentSpec, ReconcileView } from '../../core/resources/contract.ts';
import type { Leader } from './leader.ts';
import { createForesight, FORESIGHT_BOUNDS, type Foresee, isLarge } from './plan_thread.ts';
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

/** Of a large fleet a look at a list asks no planner. */
const ASK = 'no node can take it now, or nobody has looked yet; `sophia explain deployment` says which';

export interface ViewParts {
  /** Absent: revisions are changed one replica at a time, and nobody keeps a history. */
  readonly rollouts?: RolloutRunner | undefined;
  /** Names of the nodes that the configuration orders engines of. */
  readonly configuredNodes?: readonly string[];
  /** Ends what is being answered. */
  readonly signal: AbortSignal;
  /** Who answers; absent: the thread for large fleets. */
  readonly foresee?: Foresee;
}

const replicasOf = ({ deployments }: Declared): { readonly replicas: number }[] =>
  [...deployments.values()].map(({ spec: { replicas } }) => ({ replicas }));

interface Moment {
  readonly input: PassInput;
  readonly declared: Declared;
}

function inventoryOf(reconciler: Reconciler, { configuredNodes = [] }: ViewParts, now: Moment): InventoryFacts {
  const { declared, input } = now;
  const { fleet, storeMs } = input;
  const names = new Set([...configuredNodes, ...fleet.nodes.keys()]);
  const configured = new Map([...names].map((node) => [node, reconciler.configured(node)]));
  return { declared, fleet, configured, storeMs };
}

export function createReconcileView(reconciler: Reconciler, leader: Leader, parts: ViewParts): ReconcileView {
  const { rollouts, signal, foresee = createForesight({ signal, ...FORESIGHT_BOUNDS }) } = parts;
  const reasons = new Map<string, Reason>();
  let sizes: { readonly atMs: number; readonly of: readonly GpuSize[] } | undefined;
  const current = (): Moment => {
    const declared = reconciler.declared();
    const input = reconciler.input(declared);
    // What nobody has looked at yet is shown as it would begin.
    return { input: rollouts === undefined ? input : { ...input, targets: foreseenTargets }, declared };
  };
  const whyPending = (name: string, { input, declared }: Moment): string => {
    const nodes = [...input.fleet.nodes.keys()];
    if (isLarge({ nodes, deployments: replicasOf(declared) })) return ASK;
    const before = reasons.get(name);
    if (before?.seq === declared.seq && input.nowMs - before.atMs < REASON_MS) return before.text;
    const lines = explainLines(input, name);
    const text = lines.find((line) => REFUSED.test(line)) ?? lines[0] ?? '';
    if (reasons.size >= MAX_REASONS) reasons.clear();
    reasons.set(name, { seq: declared.seq, atMs: input.nowMs, text });
    return text;
  };
  const memoryOf = (spec: DeploymentSpec, { fleet, nowMs, models = KNOWS_NOTHING }: PassInput) => {
    if (sizes === undefined || nowMs - sizes.atMs >= REASON_MS) sizes = { atMs: nowMs, of: gpuSizes(fleet) };
    const memory = memoryText(memoryNeed(spec, spec, { sizes: sizes.of, models }));
    return memory === undefined ? {} : { memory };
  };
  return {
    leader: () => ({ isLeader: leader.isLeading(), holder: leader.holder, epoch: leader.epoch }),
    deploymentStatus(name) {
      const now = current();
      const { declared, input } = now;
      const deployment = declared.deployments.get(name);
      if (deployment === undefined) return undefined;
      const memory = memoryOf(deployment.spec, input);
      const status = { ...statusOf(deployment, declared.places, input.fleet, () => whyPending(name, now)), ...memory };
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
    async plan(applied, deleted) {
      const { input, declared } = current();
      return foresee(planTask(input, overlaid(declared, applied, deleted)));
    },
    explainDeployment: async (name) => foresee(explainTask(current().input, name)),
    async defragment(maxMoves) {
      const { input, declared } = current();
      const view = await foresee(defragmentTask(input, maxMoves));
      const order = declared.moveOrder === undefined ? [] : [moveOrderText(declared.moveOrder)];
      return { ...view, lines: [...order, ...view.lines], plan: planName(view.moves, declared.places) };
    },
    rollout(name) {
      const { input, declared } = current();
      const deployment = declared.deployments.get(name);
      if (deployment === undefined) return undefined;
      return rolloutReport(deployment, declared.rolloutOrders.get(name)?.order, rollouts?.look(input, name));
    },
    engines: () => engineReports(inventoryOf(reconciler, parts, current())),
    quarantines: () => quarantineReports(inventoryOf(reconciler, parts, current())),
  };
}
