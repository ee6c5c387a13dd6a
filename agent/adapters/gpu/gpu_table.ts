/**
 * What is known of each GPU, put together from readings that come at periods of their own. A GPU that the driver has
 * lost, or does not list any more, stays in the table without figures, so that whoever asks sees that it was there.
 */
import type { GpuIncident, GpuState } from '../../ports.ts';
import type { Group, GpuFacts, ReadGpu, Readings } from '../../sensor/messages.ts';

/** How often each group is read, milliseconds; `load` is a setting. Periods of NVIDIA's own tools and of gpud. */
export const GROUP_PERIODS_MS: Readonly<Record<Exclude<Group, 'load'>, number>> = {
  process: 5000,
  gh200: 5000,
  c2c: 15_000,
  throttle: 15_000,
  health: 30_000,
};

interface Row {
  facts: GpuFacts;
  lost: boolean;
  readonly groups: Map<Group, Readings>;
  /** When the list of processes was asked for. */
  processesAtMs?: number;
}

export class GpuTable {
  readonly #rows = new Map<number, Row>();

  /** The GPUs that a new life of NVML lists; tells those that are lost, or that were there and are listed no more. */
  list(gpus: readonly (GpuFacts & { readonly lost: boolean })[], atMs: number): GpuIncident[] {
    const before = [...this.#rows.values()];
    const known = new Map(before.map((row) => [row.facts.uuid ?? row.facts.index, row]));
    const incidents: GpuIncident[] = [];
    this.#rows.clear();
    for (const { lost, ...facts } of gpus) {
      // A lost GPU does not tell its name, so that its place has to do.
      const earlier = known.get(facts.uuid ?? facts.index) ?? (lost ? before[facts.index] : undefined);
      this.#rows.set(facts.index, {
        facts: { ...earlier?.facts, ...facts },
        lost: earlier?.lost ?? false,
        groups: new Map(),
      });
      this.#mark(facts.index, lost, atMs, incidents);
    }
    const listed = new Set([...this.#rows.values()].map(({ facts }) => facts.uuid ?? facts.index));
    for (const row of before) {
      if (listed.has(row.facts.uuid ?? row.facts.index)) continue;
      // The driver numbers anew after a GPU has gone, so the place may belong to another one now.
      const index = this.#rows.has(row.facts.index) ? Math.max(...this.#rows.keys()) + 1 : row.facts.index;
      this.#rows.set(index, { ...row, facts: { ...row.facts, index }, groups: new Map() });
      this.#mark(index, true, atMs, incidents);
    }
    return incidents;
  }

  /** Takes readings that were asked for at `askedAtMs`; tells GPUs that were lost since. */
  take(read: readonly ReadGpu[], atMs: number, askedAtMs: number): GpuIncident[] {
    const incidents: GpuIncident[] = [];
    for (const { index, lost, groups } of read) {
      this.#mark(index, lost === true, atMs, incidents);
      for (const [group, readings] of Object.entries(groups))
        this.#rows.get(index)?.groups.set(group as Group, readings);
      const row = this.#rows.get(index);
      if (row !== undefined && groups.process?.processes !== undefined) row.processesAtMs = askedAtMs;
    }
    return incidents;
  }

  /** Forgets the figures of a GPU that cannot be asked now: old ones must not look new. */
  forget(index: number): void {
    this.#rows.get(index)?.groups.clear();
  }

  uuidOf(index: number): string | undefined {
    return this.#rows.get(index)?.facts.uuid;
  }

  indexes(): number[] {
    return [...this.#rows.keys()].toSorted((left, right) => left - right);
  }

  states(): GpuState[] {
    return this.indexes().map((index) => {
      const { facts, groups, processesAtMs } = this.#rows.get(index) as Row;
      const state = Object.assign({}, facts, ...groups.values()) as GpuState;
      return state.processes === undefined || processesAtMs === undefined ? state : { ...state, processesAtMs };
    });
  }

  #mark(index: number, lost: boolean, atMs: number, incidents: GpuIncident[]): void {
    const row = this.#rows.get(index);
    if (row === undefined) return;
    if (lost && !row.lost) {
      const { uuid } = row.facts;
      incidents.push({ index, kind: 'lost', atMs, ...(uuid === undefined ? {} : { uuid }) });
    }
    if (lost) row.groups.clear();
    row.lost = lost;
  }
}
