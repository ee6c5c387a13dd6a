/** Reading traces: the two that are shipped, the synthetic one, files in both forms, and what is wrong in them. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { seeded } from '../../../bench/sim/scenario.ts';
import { LLMD, llmdWorkload, parseTrace } from '../../../bench/sim/traces/formats.ts';
import { readTrace } from '../../../bench/sim/traces/read.ts';
import { faster, hashesOf, headOf, rotated, type Workload } from '../../../bench/sim/traces/workload.ts';

const mean = (values: Int32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The part of full chunks that come after equal chunks that were seen before. */
function bestHitRate({ requests, chunkStart, chunkIds }: Workload): number {
  const seen = new Set<number>();
  let hits = 0;
  for (let r = 0; r < requests; r++) {
    const ids = chunkIds.subarray(chunkStart[r], chunkStart[r + 1]);
    for (const id of ids) {
      if (!seen.has(id)) break;
      hits += 1;
    }
    for (const id of ids) seen.add(id);
  }
  return hits / chunkIds.length;
}

t.test('the shipped traces are those that their sources describe', async (t) => {
  const mooncake = await readTrace('mooncake', 1);
  t.equal(mooncake.requests, 12_031);
  t.equal(Math.round(mean(mooncake.inputTokens)), 12_035);
  t.equal(Math.round(mean(mooncake.outputTokens)), 343);
  t.equal(Math.round((mooncake.arrivalMs.at(-1) as number) / 1000), 3537);
  t.ok(Math.abs(bestHitRate(mooncake) - 0.38) < 0.005);
  const azure = await readTrace('azure', 1);
  t.equal(azure.requests, 19_366);
  t.equal(Math.round(mean(azure.inputTokens)), 1155);
  t.equal(Math.round(mean(azure.outputTokens)), 211);
  t.equal(azure.distinctChunks, 0);
  t.equal(azure.session[0], -1, 'it tells nothing of sessions');
  const sessions = new Set(mooncake.session);
  t.ok(sessions.size > 1000 && sessions.size < mooncake.requests, 'a session is not the prompt that all share');
});

t.test('llm-d’s workload is Poisson with a rising rate over its groups and users', async (t) => {
  const workload = await readTrace('llmd', 1);
  const expected = ((LLMD.firstPerS + LLMD.lastPerS) / 2) * LLMD.seconds;
  t.ok(Math.abs(workload.requests / expected - 1) < 0.06, `${workload.requests} requests, ${expected} expected`);
  const half = workload.arrivalMs.filter((ms) => ms < 60_000).length / workload.requests;
  t.ok(Math.abs(half - (3 + 31.5) / 2 / 63) < 0.04, `${half} of them in the first half`);
  t.same(new Set(workload.inputTokens), new Set([7200]));
  const all = (150 * 6000 + 750 * 1200) / 240;
  t.ok(workload.distinctChunks > 0.98 * all && workload.distinctChunks <= all, 'nearly every user asks');
  t.same(new Set(workload.session).size, 150);
  const bytes = ({ arrivalMs }: Workload): Buffer => Buffer.from(arrivalMs.buffer);
  t.ok(bytes(llmdWorkload(1)).equals(bytes(workload)));
  t.notOk(bytes(llmdWorkload(2)).equals(bytes(workload)));
});

const LINE = '{"timestamp": 0, "input_length": 1030, "output_length": 5, "hash_ids": [7, 8, 9]}';

t.test('a file of either form is read, plain or gzipped', async (t) => {
  const folder = t.testdir();
  const plain = path.join(folder, 'a.jsonl');
  writeFileSync(plain, `${LINE}\n${LINE.replace('0,', '2500,')}\n\n`);
  const read = await readTrace(plain, 1);
  t.match(read, { requests: 2, chunkTokens: 512, arrivalMs: Float64Array.of(0, 2500) });
  t.same(hashesOf(read, 0).length, 4, 'the third chunk is not full');
  t.same(hashesOf(read, 0), hashesOf(read, 1));
  const zipped = path.join(folder, 'b.csv.gz');
  const rows = ['2023-11-16 18:15:46.6805900,374,44', '2023-11-16 18:15:50.9951690,396,109'];
  writeFileSync(zipped, gzipSync(['TIMESTAMP,ContextTokens,GeneratedTokens', ...rows, ''].join('\r\n')));
  const csv = await readTrace(zipped, 1);
  t.same([...csv.inputTokens, ...csv.outputTokens], [374, 396, 44, 109]);
  t.ok(Math.abs((csv.arrivalMs[1] as number) - 4314.579) < 0.01);
});

t.test('what cannot be read is refused with its line', async (t) => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['', /neither/],
    ['hello', /neither/],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\n', /no request/],
    [`${LINE}\nnonsense`, /line 2: it is not JSON/],
    [`${LINE}\nnull`, /line 2/],
    [LINE.replace('0,', '"x",'), /line 1: timestamp/],
    [LINE.replace('1030', '0'), /line 1: input_length/],
    [LINE.replace('1030', '1e300'), /line 1: input_length/],
    [LINE.replace(' 5', ' 1.5'), /line 1: output_length/],
    [LINE.replace('[7, 8, 9]', '7'), /line 1: hash_ids/],
    [LINE.replace('7,', '"7",'), /line 1: hash_ids/],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2', /line 2: it is not/],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,1', /line 2: the tokens/],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,1,2,3', /line 2/],
  ];
  for (const [text, problem] of wrong) t.throws(() => parseTrace('f', text), { name: 'TraceError', message: problem });
  await t.rejects(readTrace('/no/such/file', 1), { name: 'TraceError' });
});

t.test('another seed begins the trace at another place, with all its requests', async (t) => {
  const text = Array.from({ length: 10 }, (_, i) => LINE.replace('0,', `${i * 1000},`).replace('1030', `${600 + i}`));
  const workload = parseTrace('f', text.join('\n'));
  t.same(seeded(workload, 1), workload);
  const other = rotated(workload, 0.35);
  t.same([...other.inputTokens], [603, 604, 605, 606, 607, 608, 609, 600, 601, 602]);
  t.same(
    [...other.arrivalMs].map((ms) => Math.round(ms)),
    [0, 1000, 2000, 3000, 4000, 5000, 6000, 6900, 7900, 8900],
  );
  t.same(hashesOf(other, 9), hashesOf(workload, 2));
  t.same([...faster(other, 2).arrivalMs.slice(0, 2)], [0, 500]);
  t.match(headOf(workload, 3), { requests: 3, inputTokens: Int32Array.of(600, 601, 602) });
  t.equal(headOf(workload, 99).requests, 10);
});
