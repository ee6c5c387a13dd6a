/** One answer on its way out: what is sent, what is kept, and that all memory comes back. */
import t from 'tap';
import { EngineSteps, type StepGather } from '../../../agent/core/step_gather.ts';
import {
  type FrameFields,
  type FrameSink,
  RequestOutlet,
  type RetainBudget,
} from '../../../agent/workers/request_outlet.ts';
import { FLAG, FRAME } from '../../../proto/codec.ts';

interface Sent {
  readonly kind: number;
  readonly stream: number;
  readonly index: number;
  readonly flags: number;
  readonly aux: number;
  readonly bytes: number;
  readonly ids: number[];
  readonly urgent: boolean;
  /** With it the step of the engine was whole; undefined: it belongs to no step. */
  readonly whole: boolean | undefined;
}

class Sink implements FrameSink {
  readonly sent: Sent[] = [];
  /** Of steps; with another one the count begins anew. */
  epoch = 0;
  blocked = false;
  frame(kind: number, fields: FrameFields, payload: Uint8Array, ids: ArrayLike<number>, step?: StepGather): void {
    const { stream, index, flags, aux } = fields;
    this.sent.push({
      kind,
      stream,
      index,
      flags,
      aux,
      bytes: payload.length,
      ids: Array.from(ids),
      urgent: step === undefined,
      whole: step?.arrive(this.epoch),
    });
  }
  get kinds(): number[] {
    return this.sent.map(({ kind }) => kind);
  }
}

interface Made {
  readonly sink: Sink;
  readonly outlet: RequestOutlet;
  readonly budget: RetainBudget;
  readonly unattachable: () => number;
}

function make(
  more: {
    stream?: boolean;
    credit?: number;
    maxBytes?: number;
    retain?: boolean;
    beside?: Sink;
    steps?: EngineSteps;
  } = {},
): Made {
  const sink = more.beside ?? new Sink();
  const budget = { usedBytes: 0, maxBytes: more.maxBytes ?? 1 << 20, maxIds: 1000 };
  let count = 0;
  const outlet = new RequestOutlet(
    sink,
    { stream: 1, attempt: 0, incarnation: 7 },
    { credit: more.credit ?? 10_000, stream: more.stream ?? true },
    { budget, steps: more.steps ?? new EngineSteps() },
    more.retain ?? true,
    () => {
      count += 1;
    },
  );
  return { sink, outlet, budget, unattachable: () => count };
}

const place = { stream: 9, attempt: 1, credit: 10_000, index: 0, hadBytes: 0, withIds: false };
const bytes = (size: number): Uint8Array => new Uint8Array(size);

t.test('the first token never waits for company, and what comes before it neither', async (t) => {
  const { sink, outlet } = make();
  outlet.head();
  outlet.tokens(bytes(10), []);
  outlet.tokens(bytes(10), [1]);
  outlet.tokens(bytes(10), [2]);
  outlet.end(FRAME.DONE, bytes(2), 0);
  t.same(
    sink.sent.map(({ urgent }) => urgent),
    [true, true, true, false, true],
  );
  t.same(
    sink.sent.map(({ index }) => index),
    [0, 0, 0, 1, 2],
  );
  t.equal(outlet.delivered, true);
});

t.test('memory is given back when the request is forgotten, and as soon as it may not be come back for', async (t) => {
  for (const stream of [true, false]) {
    const { outlet, budget } = make({ stream });
    outlet.head();
    if (stream) outlet.tokens(bytes(5000), [1, 2]);
    else outlet.body(bytes(5000));
    t.ok(budget.usedBytes >= 5000);
    outlet.dispose();
    outlet.dispose();
    t.equal(budget.usedBytes, 0);
  }
  const full = make({ maxBytes: 1000 });
  full.outlet.tokens(bytes(5000), [1]);
  full.outlet.tokens(bytes(10), [2]);
  t.same([full.budget.usedBytes, full.unattachable(), full.outlet.attachable], [0, 1, false]);
  t.equal(full.sink.sent.length, 2, 'the answer goes on');
  t.equal(full.outlet.canAttach(place), false);
});

t.test('without a lane the engine waits at the bounds of credit and of memory', async (t) => {
  const credit = make({ credit: 100 });
  credit.outlet.detach();
  t.equal(credit.outlet.hold, false);
  credit.outlet.tokens(bytes(150), [1]);
  t.same([credit.outlet.hold, credit.outlet.outOfCredit, credit.outlet.attached], [true, true, false]);
  const memory = make({ maxBytes: 1000 });
  memory.outlet.detach();
  memory.outlet.tokens(bytes(5000), [1]);
  t.equal(memory.outlet.hold, true);
  t.equal(memory.outlet.attachable, true, 'it is held, not lost');
  memory.outlet.attach(new Sink(), place);
  t.equal(memory.outlet.hold, false);
  const body = make({ stream: false, maxBytes: 1 << 30 });
  body.outlet.detach();
  body.outlet.body(bytes(900_000));
  t.equal(body.outlet.hold, false);
  body.outlet.body(bytes(900_000));
  t.equal(body.outlet.hold, true, 'of a plain answer a megabyte is taken without a lane');
  const blocked = make();
  blocked.sink.blocked = true;
  t.equal(blocked.outlet.hold, true);
});

t.test('a scheduler that comes back without credit gets the rest as it grants, then the end', async (t) => {
  const { outlet } = make();
  outlet.head();
  outlet.detach();
  for (let id = 0; id < 4; id++) outlet.tokens(bytes(100), [id]);
  const next = new Sink();
  outlet.attach(next, { ...place, credit: 150 });
  t.same(next.kinds, [FRAME.HEAD, FRAME.TOKENS, FRAME.TOKENS]);
  t.equal(outlet.hold, true);
  outlet.tokens(bytes(100), [4]);
  outlet.end(FRAME.DONE, bytes(2), 0);
  t.equal(outlet.delivered, false);
  outlet.grant(1000);
  t.same(next.kinds.slice(3), [FRAME.TOKENS, FRAME.TOKENS, FRAME.TOKENS, FRAME.DONE]);
  t.same(
    next.sent.slice(1, 6).map(({ index, stream }) => [index, stream]),
    [0, 1, 2, 3, 4].map((index) => [index, 9]),
  );
  t.equal(outlet.delivered, true);
});

t.test('a failure does not wait for credit', async (t) => {
  const { outlet } = make();
  outlet.detach();
  outlet.tokens(bytes(100), [1]);
  const next = new Sink();
  outlet.attach(next, { ...place, credit: 0 });
  outlet.end(FRAME.FAILED, bytes(2), 500);
  t.match(next.sent, [{ kind: FRAME.FAILED, aux: 500 }]);
});

t.test('the last frame of a body says so, also when all had left before', async (t) => {
  const short = make({ stream: false });
  short.outlet.head();
  short.outlet.body(bytes(10));
  short.outlet.body(bytes(10));
  t.same(short.sink.kinds, [FRAME.HEAD], 'a short answer is held until it is whole');
  t.equal(short.outlet.wholeBody?.length, 20);
  short.outlet.end(FRAME.DONE, bytes(2), 0);
  t.match(short.sink.sent.slice(1), [{ kind: FRAME.BODY, bytes: 20, flags: FLAG.LAST }, { kind: FRAME.DONE }]);
  for (const retain of [true, false]) {
    const long = make({ stream: false, credit: 1 << 30, retain, maxBytes: 1 << 30 });
    long.outlet.body(bytes(700_000));
    long.outlet.body(bytes(700_000));
    t.equal(long.outlet.wholeBody, undefined, 'it has begun to flow');
    t.equal(long.budget.usedBytes > 1_000_000, true);
    long.outlet.end(FRAME.DONE, bytes(2), 0);
    t.match(long.sink.sent, [
      { bytes: 700_000, flags: 0 },
      { bytes: 700_000, flags: 0 },
      { bytes: 0, flags: FLAG.LAST },
      { kind: FRAME.DONE },
    ]);
    const again = new Sink();
    t.equal(long.outlet.canAttach(place), retain);
    if (!retain) continue;
    long.outlet.detach();
    long.outlet.attach(again, { ...place, credit: 1 << 30 });
    t.same(
      again.sent.reduce((sum, frame) => sum + frame.bytes, 0),
      1_400_002,
    );
    t.match(again.sent.at(-2), { flags: FLAG.LAST });
  }
});

t.test('a plain answer that failed while its lane was lost brings the failure, not its half', async (t) => {
  const { outlet } = make({ stream: false });
  outlet.detach();
  outlet.body(bytes(100));
  outlet.end(FRAME.FAILED, bytes(3), 0);
  const next = new Sink();
  outlet.attach(next, place);
  t.same(next.kinds, [FRAME.FAILED]);
});

t.test('a plain answer beyond the bound of memory cannot be come back for, and still arrives', async (t) => {
  const { outlet, sink, unattachable } = make({ stream: false, maxBytes: 1000 });
  outlet.body(bytes(5000));
  outlet.body(bytes(5000));
  outlet.end(FRAME.DONE, bytes(2), 0);
  t.same([unattachable(), outlet.attachable], [1, false]);
  t.match(sink.sent, [{ bytes: 10_000, flags: FLAG.LAST }, { kind: FRAME.DONE }]);
});

t.test('a step waits for the answers that get tokens, and for no other', async (t) => {
  const sink = new Sink();
  const steps = new EngineSteps();
  const answer = (credit?: number): RequestOutlet => {
    const { outlet } = make({ beside: sink, steps, ...(credit === undefined ? {} : { credit }) });
    outlet.head();
    outlet.tokens(bytes(10), [0]);
    return outlet;
  };
  const speaker = answer();
  const isWhole = (): boolean | undefined => {
    sink.epoch += 1;
    speaker.tokens(bytes(10), [1]);
    return sink.sent.at(-1)?.whole;
  };
  t.equal(isWhole(), true, 'alone');
  const ends = answer();
  t.equal(isWhole(), false, 'one is missing');
  ends.tokens(bytes(10), [1]);
  t.equal(sink.sent.at(-1)?.whole, true, 'now it is here');
  ends.end(FRAME.DONE, bytes(2), 0);
  t.equal(isWhole(), true, 'it has ended');
  const stalls = answer(15);
  stalls.tokens(bytes(10), [1]);
  t.equal(isWhole(), true, 'its reader has no credit left');
  stalls.grant(100);
  t.equal(isWhole(), false, 'it has credit again');
  stalls.detach();
  t.equal(isWhole(), true, 'its lane is lost');
  stalls.attach(sink, { ...place, index: 2 });
  t.equal(isWhole(), false, 'it is back');
  stalls.dispose();
  t.equal(isWhole(), true, 'it was given up');
});
