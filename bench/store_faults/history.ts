/**
 * Judges a history of changes against the log that came of it, as Jepsen's register and append tests do (J. Kingsbury,
 * github.com/jepsen-io/elle): each change carries an id of its own, its client knows how it ended, and whoever was told
 * "done" must find it exactly once, "refused" never, and who was told nothing once or not at all. Changes that followed
 * each other in real time stand in that order. What the log adds up to is what the changes add up to.
 */

/** `done`: acknowledged; `refused`: an answer that nothing was changed; `unknown`: no answer, or one that does not know. */
export type Ending = 'done' | 'refused' | 'unknown';

export interface Change {
  readonly id: string;
  /** Name of the deployment. */
  readonly name: string;
  /** What it is to have from now on; undefined: it is deleted. */
  readonly replicas: number | undefined;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly ending: Ending;
  /** The event's number in the log by the answer; 0: nothing had to be changed. */
  readonly seq?: number;
}

/** A change as the log has it. */
export interface Logged {
  readonly seq: number;
  readonly id: string;
  readonly name: string;
  readonly replicas: number | undefined;
}

/** Deployments and their replicas, as somebody says that they are at the end. */
export interface View {
  readonly by: string;
  readonly replicas: ReadonlyMap<string, number>;
}

export interface Verdict {
  /** Acknowledged and not in the log, or not where the answer said. */
  readonly lost: readonly string[];
  /** In the log more than once, or in it although nothing was to be changed. */
  readonly doubled: readonly string[];
  /** Refused, and in the log all the same. */
  readonly undead: readonly string[];
  /** In the log under an id that no client used, or with another content. */
  readonly strange: readonly string[];
  /** Acknowledged before another began, and after it in the log. */
  readonly swapped: readonly string[];
  /** Views that differ from what the changes add up to. */
  readonly differing: readonly string[];
  /** Of the unknown ones: how many are in the log. */
  readonly unknownDone: number;
}

function idsOf(logged: readonly Logged[]): Map<string, Logged[]> {
  const found = new Map<string, Logged[]>();
  for (const row of logged) found.set(row.id, [...(found.get(row.id) ?? []), row]);
  return found;
}

/** Pairs of changes of one deployment whose order in the log is not that of real time. */
function swappedIn(changes: readonly Change[]): string[] {
  const byName = new Map<string, Change[]>();
  for (const change of changes)
    if (change.ending === 'done' && (change.seq ?? 0) > 0)
      byName.set(change.name, [...(byName.get(change.name) ?? []), change]);
  const swapped: string[] = [];
  for (const list of byName.values())
    for (const first of list)
      for (const second of list)
        if (first.endedMs < second.startedMs && (first.seq as number) > (second.seq as number))
          swapped.push(`${first.id} and ${second.id}`);
  return swapped;
}

/** What the changes add up to, in the order of the log. */
function foldOf(changes: readonly Change[], rows: ReadonlyMap<string, readonly Logged[]>): Map<string, number> {
  const placed = changes.flatMap((change) => {
    // An acknowledged change counts by its answer, also where the log has lost it.
    const seq = change.ending === 'done' ? change.seq : rows.get(change.id)?.[0]?.seq;
    return seq === undefined || seq === 0 || change.ending === 'refused' ? [] : [{ change, seq }];
  });
  const state = new Map<string, number>();
  for (const { change } of placed.toSorted((left, right) => left.seq - right.seq)) {
    if (change.replicas === undefined) state.delete(change.name);
    else state.set(change.name, change.replicas);
  }
  return state;
}

function differencesOf({ by, replicas }: View, expected: ReadonlyMap<string, number>): string[] {
  const names = new Set([...replicas.keys(), ...expected.keys()]);
  return [...names]
    .filter((name) => replicas.get(name) !== expected.get(name))
    .map((name) => `${by} has ${name} with ${replicas.get(name)} replicas, not ${expected.get(name)}`);
}

/** Judges a history. @param logged the changes of the bench's clients in the log, in order */
export function judge(changes: readonly Change[], logged: readonly Logged[], views: readonly View[]): Verdict {
  const rows = idsOf(logged);
  const known = new Map(changes.map((change) => [change.id, change]));
  const countOf = ({ id }: Change): number => rows.get(id)?.length ?? 0;
  const isDone = ({ ending, seq }: Change): boolean => ending === 'done' && (seq ?? 0) > 0;
  const ids = (list: readonly Change[]): string[] => list.map(({ id }) => id);
  return {
    lost: ids(changes.filter((change) => isDone(change) && rows.get(change.id)?.[0]?.seq !== change.seq)),
    doubled: ids(changes.filter((change) => countOf(change) > (change.ending === 'done' && !isDone(change) ? 0 : 1))),
    undead: ids(changes.filter((change) => change.ending === 'refused' && countOf(change) > 0)),
    strange: logged
      .filter(({ id, name, replicas }) => known.get(id)?.name !== name || known.get(id)?.replicas !== replicas)
      .map(({ id, seq }) => `${id} at ${seq}`),
    swapped: swappedIn(changes),
    differing: views.flatMap((view) => differencesOf(view, foldOf(changes, rows))),
    unknownDone: changes.filter((change) => change.ending === 'unknown' && countOf(change) > 0).length,
  };
}
