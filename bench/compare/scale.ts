/** How much a comparison measures: the whole, or a look that shows whether all of it works. Pure. */

export const PARTS = ['cost', 'ttft', 'plain', 'kill', 'hang'] as const;
export type Part = (typeof PARTS)[number];

export interface CostLoad {
  /** Streams x tokens per second and stream. */
  readonly name: string;
  readonly streams: number;
  readonly tokens: number;
}

export interface CostStage {
  /** Milliseconds between the steps of an engine; 0: as fast as it can. */
  readonly itlMs: number;
  readonly loads: readonly CostLoad[];
}

/** The loads of the blueprint. */
export const COST_STAGES: readonly CostStage[] = [
  {
    itlMs: 20,
    loads: [
      { name: '64x50', streams: 64, tokens: 250 },
      { name: '256x50', streams: 256, tokens: 250 },
    ],
  },
  { itlMs: 50, loads: [{ name: '1000x20', streams: 1000, tokens: 200 }] },
  { itlMs: 0, loads: [{ name: 'unpaced', streams: 64, tokens: 1000 }] },
];

/** Ways into our fleet that are measured: as it is, with coalescing, over GenerateMany. */
export const OWN_WAYS = 3;
export const TTFT_STREAMS: readonly { readonly streams: number; readonly tokens: number }[] = [
  { streams: 1, tokens: 5 },
  // Long enough that most streams are in the middle of their answers.
  { streams: 32, tokens: 100 },
];

export interface Scale {
  readonly rounds: number;
  /** Measured time of a cell. */
  readonly seconds: number;
  readonly warmUpRequests: number;
  readonly warmUpMs: number;
  readonly ttftTurns: number;
  /** Of each contestant in each turn, per stream. */
  readonly ttftRequests: number;
  readonly killSeconds: number;
  readonly killEveryMs: number;
  readonly freezeMs: number;
  readonly faultStreams: number;
  readonly faultEngines: readonly number[];
}

export const FULL: Scale = {
  rounds: 2,
  seconds: 4.5,
  warmUpRequests: 4000,
  warmUpMs: 6000,
  ttftTurns: 6,
  ttftRequests: 40,
  killSeconds: 30,
  killEveryMs: 3000,
  freezeMs: 20_000,
  faultStreams: 64,
  faultEngines: [2],
};

export const FAST: Scale = {
  ...FULL,
  rounds: 1,
  seconds: 1.5,
  warmUpRequests: 500,
  warmUpMs: 1500,
  ttftTurns: 2,
  ttftRequests: 10,
  killSeconds: 10,
  freezeMs: 8000,
};

/** Steps of the progress bar. @param routers besides ours */
export function stepsOf(scale: Scale, parts: readonly Part[], routers: number): number {
  const loads = COST_STAGES.reduce((sum, stage) => sum + stage.loads.length, 0);
  const steps: Readonly<Record<Part, number>> = {
    cost: loads * scale.rounds * (OWN_WAYS + routers),
    ttft: TTFT_STREAMS.length * scale.ttftTurns,
    plain: 1 + routers,
    kill: scale.faultEngines.length * (1 + routers),
    hang: scale.faultEngines.length * (1 + routers),
  };
  return parts.reduce((sum, part) => sum + steps[part], 0);
}
