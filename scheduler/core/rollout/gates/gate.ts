/** What a gate is: one question to the new revision, with the answer's numbers. Types, and what gates share. */
import type { Census } from '../census.ts';
import type { GateFacts, GateName, Phase, RevisionTally, Running, Verdict } from '../contract.ts';
import type { Looks } from '../statistics/looks.ts';

export interface GateAsk {
  readonly running: Running;
  readonly census: Census;
  /** Of the new revision, since the rollout began. */
  readonly fresh: RevisionTally;
  /** Of the old one, all zeros where there is none; its times may be older. */
  readonly old: RevisionTally;
  readonly nowMs: number;
}

export interface Asked {
  readonly verdict: Verdict;
  /** A test was made, and this is what it used up. */
  readonly looks?: Partial<Running['looks']>;
}

export interface Gate {
  readonly name: GateName;
  /** Phases in which it is asked. */
  readonly phases: ReadonlySet<Phase>;
  ask(ask: GateAsk): Asked;
}

export const PASS: Verdict = { kind: 'pass' };

/** While the new revision is looked at at all. */
export const WATCHED: ReadonlySet<Phase> = new Set<Phase>(['starting', 'replacing', 'stepping', 'preparing', 'baking']);

export const failed = (gate: GateName, facts: GateFacts): Asked => ({ verdict: { kind: 'fail', gate, facts } });
export const waits = (gate: GateName, facts: GateFacts): Asked => ({ verdict: { kind: 'wait', gate, facts } });
export const passed = (looks?: Partial<Running['looks']>): Asked =>
  looks === undefined ? { verdict: PASS } : { verdict: PASS, looks };

/** Figures as operators read them. */
export const rounded = (value: number): number => Number(value.toPrecision(3));

export const looksOf = (ask: GateAsk, name: keyof Running['looks']): Looks => ask.running.looks[name];
