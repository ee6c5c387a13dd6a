/**
 * Keeps the newest load of each engine: asks the engines that are due, a few at a time, each with a deadline. An engine
 * that does not answer has no load from then on, and holds up neither the others nor whoever asks.
 */
import type { Clock } from '../../lib/clock.ts';
import { dueScrapes, type ScrapeState } from '../core/scrape_plan.ts';
import type { EngineAddress, EngineLoad, EngineProbe, EngineView } from '../ports.ts';

export interface EngineLoadsOptions {
  readonly clock: Clock;
  readonly probe: Pick<EngineProbe, 'load'>;
  readonly timeoutMs: number;
}

const RULES = { busyPeriodMs: 900, idlePeriodMs: 10_000, maxWaiting: 16 } as const;

/** States in which an engine answers such questions. */
const ANSWERING: ReadonlySet<string> = new Set(['ready', 'draining']);

interface Asked {
  readonly incarnation: number;
  askedAtMs: number | undefined;
  waiting: boolean;
  moved: boolean;
  failed: boolean;
}

function sameLoad(left: EngineLoad | undefined, right: EngineLoad): boolean {
  return (
    left?.runningRequests === right.runningRequests &&
    left?.waitingRequests === right.waitingRequests &&
    left?.kvCacheUsageRatio === right.kvCacheUsageRatio &&
    left?.kvCacheTokens === right.kvCacheTokens &&
    left?.generationTokensTotal === right.generationTokensTotal
  );
}

const isBusy = (load: EngineLoad | undefined): boolean =>
  (load?.runningRequests ?? 0) > 0 || (load?.waitingRequests ?? 0) > 0;

export class EngineLoadReader {
  readonly #options: EngineLoadsOptions;
  readonly #asked = new Map<string, Asked>();
  readonly newest = new Map<string, EngineLoad>();

  constructor(options: EngineLoadsOptions) {
    this.#options = options;
  }

  async refresh(
    views: readonly EngineView[],
    open: Readonly<Record<string, number>>,
    patienceMs: number,
  ): Promise<void> {
    const { clock } = this.#options;
    const addresses = new Map<string, EngineAddress>();
    const states: ScrapeState[] = [];
    for (const { life, address } of views) {
      if (address === undefined || !ANSWERING.has(life.status)) continue;
      const engine = life.spec.name;
      addresses.set(engine, address);
      const asked = this.#stateOf(engine, life.incarnation);
      states.push({ engine, busy: (open[engine] ?? 0) > 0 || isBusy(this.newest.get(engine)), ...asked });
    }
    this.#forgetOthers(addresses);
    const due = dueScrapes(states, clock.monotonicMs(), RULES);
    if (due.length === 0) return;
    let cancel: (() => void) | undefined;
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(patienceMs, resolve);
    });
    const answers = due.map((engine) => this.#ask(engine, addresses.get(engine) as EngineAddress));
    await Promise.race([Promise.all(answers), late]);
    cancel?.();
  }

  /** Another life of the engine begins anew, whatever the earlier one still owes. */
  #stateOf(engine: string, incarnation: number): Asked {
    const before = this.#asked.get(engine);
    if (before?.incarnation === incarnation) return before;
    const state: Asked = { incarnation, askedAtMs: undefined, waiting: false, moved: false, failed: false };
    this.newest.delete(engine);
    this.#asked.set(engine, state);
    return state;
  }

  #forgetOthers(answering: ReadonlyMap<string, unknown>): void {
    for (const engine of this.#asked.keys()) {
      if (answering.has(engine)) continue;
      this.#asked.delete(engine);
      this.newest.delete(engine);
    }
  }

  async #ask(engine: string, address: EngineAddress): Promise<void> {
    const { clock, probe, timeoutMs } = this.#options;
    const asked = this.#asked.get(engine) as Asked;
    asked.waiting = true;
    asked.askedAtMs = clock.monotonicMs();
    const load = await probe.load(address, timeoutMs);
    asked.waiting = false;
    // The engine has ended or begun another life meanwhile.
    if (this.#asked.get(engine) !== asked) return;
    asked.failed = load === undefined;
    asked.moved = load !== undefined && !sameLoad(this.newest.get(engine), load);
    if (load === undefined) this.newest.delete(engine);
    else this.newest.set(engine, load);
  }
}
