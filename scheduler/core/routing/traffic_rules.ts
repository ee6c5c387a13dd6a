/**
 * What routing is told of revisions: which one an engine is of, whether it may be sent anything at all, and how the requests
 * of a deployment are divided. Whoever carries out rollouts gives the rules as a whole, and new ones when they change;
 * routing asks when an engine changes, never for a request. Types, and the rules of a fleet without any.
 */
import type { EngineId } from '../../../lib/ids.ts';

export interface EngineMark {
  /** Names what is counted together: a revision of a deployment. */
  readonly label: string;
  /** It has not passed its gates: no request may go there, not even one that has no other place. */
  readonly closed: boolean;
  /** Absent: the engine takes part in the routing of its model like any other. */
  readonly share?: {
    /** Among the marks with this name requests are divided by weight. */
    readonly split: string;
    readonly weight: number;
    /** With the weight 0: gets what no other label of the split can take. */
    readonly standby: boolean;
  };
}

export interface TrafficRules {
  /** Undefined: the engine belongs to no deployment. */
  markOf(engine: EngineId): EngineMark | undefined;
}

export const NO_RULES: TrafficRules = { markOf: () => undefined };
