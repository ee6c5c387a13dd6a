/** What is kept of a rollout can be read again, and what cannot be is never half believed. */
import t from 'tap';
import type { JsonValue } from '../../../../scheduler/core/events/json.ts';
import { readState, toJson } from '../../../../scheduler/core/rollout/state_json.ts';
import { World } from './world.ts';

const [OLD, NEW] = ['aaaaaaaaaa', 'bbbbbbbbbb'];

t.test('a state in the middle of a rollout is read as it was written', async (t) => {
  const world = new World({ kind: 'canary', stepMs: 2000 }, 2).begin();
  t.same(readState(toJson(world.out.state)), world.out.state);
  world.revision = NEW;
  world.until(({ out }) => out.traffic.shares[0]?.weight === 5);
  const { state } = world.out;
  t.same(readState(JSON.parse(JSON.stringify(toJson(state))) as JsonValue), state);
});

t.test('what is no state is none', async (t) => {
  const world = new World({ kind: 'canary' }, 2).begin();
  world.revision = NEW;
  world.tick();
  const state = toJson(world.out.state) as Record<string, JsonValue>;
  const running = state['running'] as Record<string, JsonValue>;
  const bad: readonly (JsonValue | undefined)[] = [
    undefined,
    null,
    [],
    'x',
    {},
    { ...state, seen: 1 },
    { ...state, current: { id: 'x' } },
    { ...state, history: {} },
    { ...state, history: [{ revision: { id: 'x', spec: {} } }] },
    { ...state, running: 1 },
    { ...state, running: { ...running, phase: 'a_phase_of_a_newer_version' } },
    { ...state, running: { ...running, phase: 'toString' } },
    { ...state, running: { ...running, to: null } },
    { ...state, running: { ...running, passed: [1] } },
    { ...state, running: { ...running, step: { index: 0, sinceMs: 0, admitted: 0 } } },
    { ...state, running: { ...running, deadlineAtMs: null } },
  ];
  for (const value of bad) t.equal(readState(value), undefined, JSON.stringify(value)?.slice(0, 80));
});

t.test('where nothing is known, what serves goes on serving', async (t) => {
  const same = new World({ kind: 'rolling' }, 2).begin();
  same.state = undefined;
  const out = same.tick();
  t.match(out.state, { seen: OLD, current: { id: OLD, spec: { model: OLD } }, running: null });
  t.equal(out.traffic.shares[0]?.proven, true);
  const other = new World({ kind: 'rolling', stepMs: 1000 }, 2).begin();
  other.state = undefined;
  other.revision = NEW;
  t.match(other.tick(), {
    wanted: { [OLD]: 2, [NEW]: 1 },
    traffic: { shares: [{ revision: NEW }, { revision: OLD, weight: 100, proven: true }] },
  });
  t.ok(other.until(({ state }) => state?.running === null));
  t.equal(other.out.state.current?.id, NEW);
});
