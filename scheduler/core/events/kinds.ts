/**
 * The kinds of events as a table. An event says of one entry of the fleet's state, named by area, kind and name, what it
 * is from now on, or that it is no more. The effect is written into each event, so that a scheduler of an older version
 * folds kinds right that it has never heard of.
 */

/** What the state is divided into. `action` has no state: it records what was done. */
export const AREAS = ['desired', 'placement', 'lifecycle', 'access', 'quarantine', 'freeze', 'action'] as const;
export type Area = (typeof AREAS)[number];

/** `put`: `after` is the entry's value; `remove`: the entry is gone; `record`: no entry is touched. */
export type Effect = 'put' | 'remove' | 'record';

export interface KindSpec {
  readonly area: Area;
  readonly effect: Effect;
  /** What must hold before: the entry is there, it is not, or either. */
  readonly needs: 'absent' | 'present' | 'any';
}

export const EVENT_KINDS = {
  'desired.created': { area: 'desired', effect: 'put', needs: 'absent' },
  'desired.changed': { area: 'desired', effect: 'put', needs: 'present' },
  'desired.deleted': { area: 'desired', effect: 'remove', needs: 'present' },
  'placement.assigned': { area: 'placement', effect: 'put', needs: 'absent' },
  'placement.moved': { area: 'placement', effect: 'put', needs: 'present' },
  'placement.released': { area: 'placement', effect: 'remove', needs: 'present' },
  'lifecycle.changed': { area: 'lifecycle', effect: 'put', needs: 'any' },
  'lifecycle.ended': { area: 'lifecycle', effect: 'remove', needs: 'present' },
  'access.granted': { area: 'access', effect: 'put', needs: 'absent' },
  'access.changed': { area: 'access', effect: 'put', needs: 'present' },
  'access.revoked': { area: 'access', effect: 'remove', needs: 'present' },
  'quarantine.set': { area: 'quarantine', effect: 'put', needs: 'any' },
  'quarantine.lifted': { area: 'quarantine', effect: 'remove', needs: 'present' },
  'freeze.set': { area: 'freeze', effect: 'put', needs: 'any' },
  'freeze.lifted': { area: 'freeze', effect: 'remove', needs: 'present' },
  'action.taken': { area: 'action', effect: 'record', needs: 'any' },
} as const satisfies Record<string, KindSpec>;

export type EventKind = keyof typeof EVENT_KINDS;

export const kindSpec = (kind: EventKind): KindSpec => EVENT_KINDS[kind];

export const isEventKind = (text: string): text is EventKind => Object.hasOwn(EVENT_KINDS, text);
