/** What is kept of an answer, against a plain list of its frames as a model. */
import fc from 'fast-check';
import t from 'tap';
import { Outbox, type OutboxFrame } from '../../../agent/core/outbox.ts';

interface ModelFrame {
  readonly index: number;
  readonly bytes: number[];
  readonly ids: number[];
}

const view = (): OutboxFrame => ({ index: 0, bytes: new Uint8Array(0), ids: new Uint32Array(0) });

function readAll(outbox: Outbox): ModelFrame[] {
  const frames: ModelFrame[] = [];
  const frame = view();
  for (let number = outbox.begin; number < outbox.end; number++) {
    outbox.read(number, frame);
    frames.push({ index: frame.index, bytes: [...frame.bytes], ids: [...frame.ids] });
  }
  return frames;
}

type Step =
  | { readonly kind: 'append'; readonly size: number; readonly ids: number }
  | { readonly kind: 'extend'; readonly size: number }
  | { readonly kind: 'release'; readonly taken: number; readonly before: number };

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('append' as const), size: fc.nat(900), ids: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('extend' as const), size: fc.nat(900) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('release' as const), taken: fc.nat(120), before: fc.nat(100) }),
  },
);

t.test('frames come back as they went in, whatever was released in between', async (t) => {
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 120 }), (all) => {
      const outbox = new Outbox();
      const model: ModelFrame[] = [];
      let dropped = 0;
      let droppedBytes = 0;
      let nextId = 0;
      let byte = 0;
      const make = (size: number): Uint8Array => Uint8Array.from({ length: size }, () => byte++ & 0xff);
      for (const step of all) {
        if (step.kind === 'append') {
          const payload = make(step.size);
          const ids = Array.from({ length: step.ids }, () => nextId++);
          model.push({ index: nextId - step.ids, bytes: [...payload], ids });
          outbox.append(payload, ids);
        } else if (step.kind === 'extend') {
          const newest = model.at(-1);
          if (newest === undefined) continue;
          const payload = make(step.size);
          newest.bytes.push(...payload);
          outbox.extend(payload);
        } else {
          const total = droppedBytes + model.reduce((sum, frame) => sum + frame.bytes.length, 0);
          const taken = Math.floor((total * step.taken) / 100);
          const before = dropped + step.before;
          outbox.release(taken, before);
          while (model[0] !== undefined && dropped < before && droppedBytes + model[0].bytes.length <= taken) {
            droppedBytes += model[0].bytes.length;
            dropped += 1;
            model.shift();
          }
        }
        const total = droppedBytes + model.reduce((sum, frame) => sum + frame.bytes.length, 0);
        if (outbox.begin !== dropped || outbox.end !== dropped + model.length) return false;
        if (outbox.totalBytes !== total || outbox.tokens !== nextId) return false;
        if (outbox.newestBytes !== (model.at(-1)?.bytes.length ?? 0)) return false;
        if (outbox.bytesBefore(dropped) !== droppedBytes || outbox.bytesBefore(outbox.end) !== total) return false;
      }
      return (
        JSON.stringify(readAll(outbox)) === JSON.stringify(model) &&
        JSON.stringify([...outbox.held]) === JSON.stringify(model.flatMap((frame) => frame.bytes)) &&
        outbox.journal.length === nextId &&
        outbox.journal.every((id, at) => id === at)
      );
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('memory is used again: a long answer that is taken as it comes does not grow it', async (t) => {
  const outbox = new Outbox();
  const payload = new Uint8Array(230);
  for (let id = 0; id < 300; id++) {
    outbox.append(payload, [id]);
    outbox.release(outbox.totalBytes, outbox.end);
  }
  const after300 = outbox.capacityBytes;
  t.ok(after300 < 12_000, `${after300} bytes`);
  for (let id = 300; id < 3000; id++) {
    outbox.append(payload, [id]);
    outbox.release(outbox.totalBytes - 230, outbox.end);
  }
  t.ok(outbox.capacityBytes - after300 < 32_000, 'only the journal of ids has grown');
});

t.test('a scheduler goes on between two frames and nowhere else', async (t) => {
  const outbox = new Outbox();
  t.equal(outbox.placeOf(0, 0), 0, 'of an answer that has not begun');
  outbox.append(new Uint8Array(10), []);
  outbox.append(new Uint8Array(20), [5]);
  outbox.append(new Uint8Array(30), [6, 7]);
  outbox.append(new Uint8Array(40), []);
  t.equal(outbox.placeOf(0, 0), 0, 'the role chunk comes again');
  t.equal(outbox.placeOf(0, 10), 1, 'unless it is said that it was had');
  t.equal(outbox.placeOf(1, 0), 2);
  t.equal(outbox.placeOf(2, 0), -1, 'in the middle of a frame');
  t.equal(outbox.placeOf(3, 0), 3, 'the usage chunk comes again');
  t.equal(outbox.placeOf(3, 100), 4);
  t.equal(outbox.placeOf(3, 99), -1);
  t.equal(outbox.placeOf(4, 0), -1, 'a token that has not come');
  outbox.release(30, 4);
  t.equal(outbox.placeOf(0, 0), -1, 'what was taken is gone');
  t.equal(outbox.placeOf(1, 0), 2);
  t.equal(outbox.placeOf(1, 30), 2);
});
