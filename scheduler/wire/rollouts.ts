/**
 * Plugs rollouts and aliases into a scheduler: reconcile is made before the run loop, so what rollouts need of the loop is
 * handed to them once it is there.
 */
import { newRequestId } from '../../lib/ids.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../lib/io/system.ts';
import { createAliasGenerator, withAliases } from '../adapters/aliases/alias_generator.ts';
import { RolloutRunner } from '../adapters/reconcile/rollout_runner.ts';
import type { Projection } from '../core/events/projection.ts';
import { aliasesOf } from '../core/resources/aliases.ts';
import { SmokeAsker, type SmokeAskerDeps } from '../core/rollout/smoke_asker.ts';
import { NO_TALLY } from '../core/rollout/tallies.ts';
import { NO_RULES } from '../core/routing/traffic_rules.ts';
import type { Aliases } from '../core/routing/aliases.ts';
import type { FleetView, Generator } from '../ports.ts';
import type { RunLoop } from '../run_loop.ts';

/** Longest time that a new replica has for the answer to its smoke prompt. */
const SMOKE_TIMEOUT_MS = 60_000;

export interface Rollouts {
  readonly runner: RolloutRunner;
  /** Takes the loop of this scheduler; until then nothing is divided and nobody is asked. */
  use(loop: Pick<RunLoop, 'inspector'>): void;
}

export function createRollouts(logger: Logger): Rollouts {
  let loop: Pick<RunLoop, 'inspector'> | undefined;
  let rules = NO_RULES;
  const laneFor: SmokeAskerDeps['laneFor'] = (node, engine) => loop?.inspector.directory.laneFor(node, engine);
  const asker = new SmokeAsker({
    clock: systemClock,
    laneFor,
    newId: () => newRequestId(systemRandom),
    timeoutMs: SMOKE_TIMEOUT_MS,
  });
  const runner = new RolloutRunner({
    logger,
    tallyOf: (label) => loop?.inspector.router.tallies.of(label) ?? NO_TALLY,
    divide(given) {
      rules = given;
      loop?.inspector.router.divide(given);
    },
    smoke: {
      // An agent that has just come tells of its engines before its lanes are open, and that is no fault of a replica.
      ask(target, prompt) {
        if (laneFor(target.node, target.engine) !== undefined) asker.ask(target, prompt);
      },
      keepOnly: (keys) => asker.keepOnly(keys),
      resultOf: (key, incarnation) => asker.resultOf(key, incarnation),
    },
  });
  return {
    runner,
    use(given) {
      loop = given;
      loop.inspector.router.divide(rules);
    },
  };
}

/** The aliases that are declared now, read anew only when the log says something else. */
export function liveAliases(projection: () => Pick<Projection, 'list' | 'get' | 'seq'>): () => Aliases {
  let from: unknown;
  let seq = -1;
  let aliases: Aliases = new Map();
  return () => {
    const now = projection();
    if (now !== from || now.seq() !== seq) {
      from = now;
      seq = now.seq();
      aliases = aliasesOf(now);
    }
    return aliases;
  };
}

/** The generator and the list of models with the aliases before them. */
export function withLiveAliases(
  generator: Generator,
  loop: Pick<RunLoop, 'inspector' | 'fleetView'>,
  projection: () => Pick<Projection, 'list' | 'get' | 'seq'>,
): { readonly generator: Generator; readonly fleetView: FleetView } {
  const aliases = liveAliases(projection);
  const serves = (model: string): boolean => loop.inspector.router.serves(model);
  return {
    generator: createAliasGenerator(generator, { aliases, serves, random: systemRandom }),
    fleetView: withAliases(loop.fleetView, aliases),
  };
}
