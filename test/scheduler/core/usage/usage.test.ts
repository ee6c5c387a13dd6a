/** Sums of usage, the records of a spool, and what is read off requests that end. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import type { KeyId } from '../../../../lib/ids.ts';
import { OTHER, type UsageCounts, type UsageKey, type UsageRow } from '../../../../scheduler/core/usage/contract.ts';
import { createUsageMeter } from '../../../../scheduler/core/usage/meter.ts';
import { decodeSegment, encodeRecord } from '../../../../scheduler/core/usage/record.ts';
import { createUsageTally, mergeRows, sumRows } from '../../../../scheduler/core/usage/tally.ts';
import type { EndedRequest } from '../../../../scheduler/ports.ts';
import { request } from '../../fakes.ts';

const HOUR = 3_600_000;
const checksum = (text: string): number => crc32(text);
const KEY: UsageKey = { periodMs: 0, tenant: 'a', key: 'k', model: 'm', outcome: 'ok', servedBy: 'fleet' };
const ONE: UsageCounts = { requests: 1, untold: 0, promptTokens: 5, cachedTokens: 2, completionTokens: 3 };
const row = (change: Partial<UsageRow> = {}): UsageRow => ({ ...KEY, ...ONE, ...change });

t.test('sums have a bound, and what is above it loses its names and no token', async (t) => {
  const tally = createUsageTally(2);
  t.equal(tally.add(KEY, ONE), true);
  t.equal(tally.add(KEY, ONE), true);
  t.equal(tally.add({ ...KEY, tenant: 'b' }, ONE), true);
  for (const tenant of ['c', 'd', 'e']) t.equal(tally.add({ ...KEY, tenant }, ONE), false);
  t.equal(tally.add({ ...KEY, tenant: 'c', periodMs: HOUR }, ONE), false);
  t.equal(tally.add(KEY, ONE), true, 'a sum that is there takes more');
  t.match(tally.rows(), [
    { tenant: 'a', requests: 3, promptTokens: 15 },
    { tenant: 'b', requests: 1 },
    { tenant: OTHER, key: OTHER, model: OTHER, outcome: OTHER, servedBy: OTHER, periodMs: 0, requests: 3 },
    { tenant: OTHER, periodMs: HOUR, requests: 1, completionTokens: 3 },
  ]);
  tally.clear();
  t.equal(tally.size, 0);
  tally.add(KEY, ONE);
  tally.add(KEY, { requests: -1, untold: 0, promptTokens: -5, cachedTokens: -2, completionTokens: -3 });
  t.same(tally.rows(), [], 'a sum of nothing says nothing');
});

t.test('names that no table takes are changed, and are bounded', async (t) => {
  const tally = createUsageTally(10);
  tally.add({ ...KEY, model: `m\0\ud800${'x'.repeat(1000)}` }, ONE);
  t.equal(tally.rows()[0]?.model, `m\ufffd\ufffd${'x'.repeat(253)}`);
});

t.test('rows add up by what is asked for, within whole hours', async (t) => {
  const rows = [
    row(),
    row({ tenant: 'b', periodMs: HOUR }),
    row({ key: 'l', periodMs: HOUR }),
    row({ periodMs: 2 * HOUR }),
  ];
  t.match(mergeRows([row(), row()]), [{ requests: 2, cachedTokens: 4 }]);
  const all = { sinceMs: 0, untilMs: 3 * HOUR };
  t.match(sumRows(rows, all, 'tenant'), [
    { tenant: 'a', key: '', periodMs: 0, requests: 3 },
    { tenant: 'b', requests: 1 },
  ]);
  t.match(sumRows(rows, { sinceMs: HOUR, untilMs: 2 * HOUR }, 'key'), [
    { tenant: 'a', key: 'l', requests: 1 },
    { tenant: 'b', key: 'k', requests: 1 },
  ]);
  t.same(
    sumRows(rows, all, 'hour').map(({ periodMs, requests }) => [periodMs, requests]),
    [
      [0, 1],
      [HOUR, 2],
      [2 * HOUR, 1],
    ],
  );
});

t.test('a segment is read as it was written', async (t) => {
  const count = fc.integer({ min: -5, max: 1_000_000 });
  const someRow = fc.record({
    periodMs: fc.nat(),
    tenant: fc.string(),
    key: fc.string(),
    model: fc.string({ unit: 'binary' }),
    outcome: fc.string(),
    servedBy: fc.string(),
    requests: count,
    untold: count,
    promptTokens: count,
    cachedTokens: count,
    completionTokens: count,
  });
  fc.assert(
    fc.property(
      fc.array(fc.array(someRow, { minLength: 1, maxLength: 3 }), { maxLength: 5 }),
      fc.nat(),
      (records, cut) => {
        const lines = records.map((rows, index) => encodeRecord(index + 1, rows, checksum));
        const whole = decodeSegment(lines.join(''), checksum);
        t.same(whole, { rows: records.flat(), records: records.length, damages: [] });
        // Cut anywhere: the records before the cut are there, and the rest is told.
        const text = lines.join('');
        const at = text.length === 0 ? 0 : cut % text.length;
        const torn = decodeSegment(text.slice(0, at), checksum);
        let sound = 0;
        for (let end = 0; sound < lines.length && (end += (lines[sound] as string).length) <= at; ) sound++;
        t.equal(torn.records, sound);
        t.same(torn.rows, records.slice(0, sound).flat());
      },
    ),
    { numRuns: 40 },
  );
});

t.test('what is damaged is told and left out, what came twice counts once', async (t) => {
  const line = (n: number, tenant: string): string => encodeRecord(n, [row({ tenant })], checksum);
  const flipped = line(2, 'b').replace('"b"', '"x"');
  const damaged = decodeSegment(
    `${line(1, 'a')}${flipped}${line(3, 'c')}${line(3, 'c')}${line(5, 'e').slice(0, 30)}`,
    checksum,
  );
  t.same(
    damaged.rows.map(({ tenant }) => tenant),
    ['a', 'c'],
  );
  t.match(damaged.damages, [/line 2 does not fit/, /records 2 to 2 are missing before line 3/, /line 5 is torn/]);
  const forged = (body: string): string => `${checksum(body).toString(16).padStart(8, '0')} ${body}\n`;
  for (const body of [
    '{"n":"1","rows":[]}',
    '{"n":1}',
    '{"n":1,"rows":[7]}',
    '{"n":1,"rows":[[1,2]]}',
    '{"n":1,"rows":[[0,"","","","","",1,1,1,1,"x"]]}',
  ])
    t.match(decodeSegment(forged(body), checksum), { records: 0, damages: [/line 1/] }, body);
});

function metered(maxRows: number) {
  const tally = createUsageTally(maxRows);
  let crowded = 0;
  const meter = createUsageMeter({ tally, wallMs: () => 5 * HOUR + 17, crowded: () => void crowded++ });
  const end = (change: Partial<EndedRequest> = {}): EndedRequest => {
    const asked = change.request ?? request();
    const { model, door } = asked;
    const times = { startedAtMs: 0, firstTokenAtMs: 1, endedAtMs: 2 };
    const usage = { promptTokens: 7, cachedPromptTokens: 4, completionTokens: 9 };
    return { ...times, request: asked, model, door, outcome: 'ok', usage, outputTokens: 9, ...change };
  };
  return { tally, meter, end, crowded: () => crowded };
}

t.test('each request that ends is accounted to its key, model and outcome', async (t) => {
  const { tally, meter, end, crowded } = metered(3);
  const identity = { ...request().identity, keyId: 'abcdefghijkl' as KeyId };
  meter.fleetEnded(end({ request: request({ identity }) }));
  meter.fleetEnded(end({ request: request({ door: 'direct' }) }));
  meter.fleetEnded(end({ outcome: 'cancelled', usage: undefined, outputTokens: 2 }));
  meter.fleetEnded(end({ request: request({ model: 'other' }), usage: {} }));
  t.match(tally.rows(), [
    {
      periodMs: 5 * HOUR,
      tenant: 'acme',
      key: 'abcdefghijkl',
      model: 'm',
      outcome: 'ok',
      servedBy: 'fleet',
      ...{ requests: 1, untold: 0, promptTokens: 7, cachedTokens: 4, completionTokens: 9 },
    },
    { key: 'token', servedBy: 'direct' },
    { outcome: 'cancelled', requests: 1, untold: 1, promptTokens: 0, completionTokens: 2 },
    { tenant: OTHER, requests: 1, untold: 1, completionTokens: 9 },
  ]);
  t.equal(crowded(), 1);
});

t.test('a request that a provider took over is one request, whenever it did', async (t) => {
  const { tally, meter, end } = metered(10);
  const late = request();
  meter.fleetEnded(end({ request: late, outcome: 'engine_died', usage: undefined, outputTokens: 0 }));
  meter.handedOver(late);
  meter.ended(late, 'p0', 'ok', { promptTokens: 3, completionTokens: 4 });
  const early = request();
  meter.handedOver(early);
  meter.fleetEnded(end({ request: early, outcome: 'cancelled', usage: undefined, outputTokens: 0 }));
  meter.ended(early, 'p0', 'provider_failed', undefined);
  t.match(tally.rows(), [
    { servedBy: 'provider:p0', outcome: 'ok', requests: 1, promptTokens: 3, completionTokens: 4 },
    { servedBy: 'provider:p0', outcome: 'provider_failed', requests: 1, untold: 1, promptTokens: 0 },
  ]);
  t.equal(tally.rows().length, 2);
});
