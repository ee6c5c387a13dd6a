/**
 * Random histories: requests, frames, cancellations, deaths, lost lanes and restarts in any order. Whatever happens, a
 * door sees its calls in the promised order and one end, and no place on any engine stays taken.
 */
import fc from 'fast-check';
import t from 'tap';
import { CodedError, type ErrorCode } from '../../lib/errors.ts';
import type { RequestId } from '../../lib/ids.ts';
import type { Generation } from '../../scheduler/ports.ts';
import {
  engineEvent,
  fakeLane,
  fakeSession,
  hello,
  idBytes,
  recordingDoor,
  type RecordingDoor,
  request,
  testLoop,
} from './fakes.ts';

const ACTIONS = [
  'start',
  'head',
  'tokens',
  'body',
  'done',
  'error',
  'cancel',
  'grant',
  'time',
  'engine',
  'telemetry',
  'restart',
  'lane',
] as const;
const CODES: readonly ErrorCode[] = [
  'engine_unreachable',
  'engine_overloaded',
  'engine_died',
  'engine_rejected',
  'stream_lost',
];
const STATES = [
  'ENGINE_STATE_READY',
  'ENGINE_STATE_DRAINING',
  'ENGINE_STATE_BACKOFF',
  'ENGINE_STATE_STARTING',
] as const;

const command = fc.record({ action: fc.constantFrom(...ACTIONS), which: fc.nat(50), value: fc.nat(20) });

/** head? then tokens or bodies, then one end; or an error at once. */
const GOOD = /^(?:(?:head )?(?:(?:tokens|body)\S* )*(?:done|error)\S* |(?:head )?(?:(?:tokens|body)\S* )*)$/;

function play(
  commands: readonly { action: (typeof ACTIONS)[number]; which: number; value: number }[],
): string | undefined {
  const fixture = testLoop({
    hello: { engines: [engineEvent(), engineEvent({ engine: 'e1' })] },
    options: { maxRunningRequests: 20 },
  });
  const { loop, clock } = fixture;
  let { session } = fixture;
  let sessions = 1;
  let incarnation = 1;
  const lanes = [fixture.lane];
  const doors: { door: RecordingDoor; cancelled: boolean; generation: Generation }[] = [];
  const sink = (which: number) => {
    const all = lanes.flatMap((lane) => lane.sent).filter((sent) => !sent.cancelled);
    return all[which % Math.max(1, all.length)]?.sink;
  };
  const addLane = (): void => {
    const lane = fakeLane();
    lanes.push(lane);
    loop.fleetSink.onLaneOpen(`s${sessions}`, lane);
  };
  for (const { action, which, value } of commands) {
    const chosen = doors[which % Math.max(1, doors.length)];
    if (action === 'start') {
      const door = recordingDoor();
      try {
        const generation = loop.generator.start(
          request({ id: `r${value}` as RequestId, deadlineAtMs: clock.monotonicMs() + value * 10 }),
          door,
          10,
        );
        doors.push({ door, cancelled: false, generation });
      } catch (error) {
        if (!(error instanceof CodedError)) return `start threw ${String(error)}`;
        if (door.calls.length > 0) return 'a request that was not started has spoken';
      }
    } else if (action === 'head') sink(which)?.onHead();
    else if (action === 'tokens') sink(which)?.onTokens(Buffer.from('x'), idBytes(value), value % 3);
    else if (action === 'body') sink(which)?.onBody(Buffer.from('x'), value % 2 === 0);
    else if (action === 'done') sink(which)?.onDone(undefined);
    else if (action === 'error') sink(which)?.onError(new CodedError(CODES[value % CODES.length] as ErrorCode, 'no'));
    else if (action === 'cancel' && chosen !== undefined) {
      chosen.generation.cancel('gone');
      chosen.cancelled = true;
    } else if (action === 'grant') chosen?.generation.grant(value);
    else if (action === 'time') clock.advance(value * 20);
    else if (action === 'engine') {
      if (value % 5 === 0) incarnation += 1;
      loop.fleetSink.onEngineEvent(
        session,
        engineEvent({ engine: `e${which % 2}`, incarnation, state: STATES[value % 4] as (typeof STATES)[number] }),
      );
    } else if (action === 'restart') {
      sessions += 1;
      session = fakeSession(`s${sessions}`);
      loop.fleetSink.onHello(
        session,
        hello({
          sessionId: `s${sessions}`,
          engines: [engineEvent({ incarnation: 1 }), engineEvent({ engine: 'e1', incarnation })],
        }),
      );
      addLane();
    } else if (action === 'lane') {
      const lane = lanes[which % lanes.length];
      if (lane !== undefined) {
        loop.fleetSink.onLaneLost(`s${sessions}`, lane);
        lane.close(new CodedError('stream_lost', 'cut'));
      }
      if (value % 2 === 0) addLane();
    }
  }
  loop.abortAll(new CodedError('draining', 'stop'));
  for (const { door, cancelled } of doors) {
    const text = door.calls.map((call) => `${call} `).join('');
    if (!GOOD.test(text)) return `a door saw: ${text}`;
    const ends = door.calls.filter((call) => call.startsWith('done') || call.startsWith('error')).length;
    if (ends !== 1 && !cancelled) return `a door saw ${ends} ends: ${text}`;
  }
  if (loop.inspector.reservations.total !== 0) return `${loop.inspector.reservations.total} places stay taken`;
  if (loop.inspector.reservations.lives !== 0) return 'a life stays behind';
  return loop.inspector.runningRequests === 0 ? undefined : 'something still runs';
}

t.test('any history ends with one end per door and no place taken', async (t) => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 120 }), (commands) => {
      const complaint = play(commands);
      if (complaint !== undefined) throw new Error(complaint);
    }),
    { numRuns: 1500 },
  );
  t.pass('the property holds');
});
