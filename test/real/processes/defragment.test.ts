/**
 * A defragmentation carried out under load, through the command line: two real agents with GPUs of a false driver, simulated
 * engines that share them, and streams that run all the while. No request may fail.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createFakeNvml, gh200 } from '../../../bench/gpu/fake_nvml.ts';
import { readStream } from '../../../bench/streams/client.ts';
import type { Child } from '../../../lib/io/child.ts';
import { LOOPBACK, startLocalFleet } from '../../../lib/io/local_fleet.ts';
import { buildProgram } from '../../../cli/program.ts';
import { makeHome } from '../../cli/sophia.ts';

t.setTimeout(240_000);

const STREAMS = 8;
/** A look at a fleet is a request too. */
const LOOK_MS = 150;
const LIMIT_MS = 60_000;
const SPEC = {
  engine: 'sim',
  model: 'm',
  servedModelName: 'm',
  gpusPerHost: 1,
  gpuMemoryBytes: 8 * 2 ** 30,
  sharing: 'shared',
  placement: 'spread',
  replicas: 4,
  extraFlags: ['--sim-itl-ms', '20', '--sim-start-ms', '200'],
};

interface Event {
  readonly kind: string;
  readonly reason: string;
  readonly correlationId: string;
  readonly resource: { readonly kind: string };
}
interface Shown {
  readonly status: { readonly ready: number; readonly replicas: readonly { readonly gpus: readonly object[] }[] };
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + LIMIT_MS;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`It did not come to ${what}.`);
    await sleep(LOOK_MS);
  }
}

t.test('whole GPUs are made under streams of clients, and none of them fails', async (t) => {
  const home = makeHome(t);
  const folder = path.join(home.root, 'nvml');
  mkdirSync(folder);
  const nvml = createFakeNvml(folder);
  nvml.play(gh200(0), gh200(1));
  const children: Child[] = [];
  t.teardown(async () => {
    for (const child of children.toReversed()) await child.stop(20_000);
  });
  const fleet = await startLocalFleet({
    root: path.join(home.root, 'fleet'),
    nodeName: 'n1',
    engines: [],
    otherNodes: [{ nodeName: 'n2', engines: [] }],
    env: { ...process.env, ...home.env },
    nowMs: Date.now(),
    onChild: (child) => children.push(child),
    scheduler: { storePollMs: 50, logLevel: 'warn' },
    agent: { nvmlLibrary: nvml.library, gpuReader: 'nvml', logLevel: 'warn' },
  });
  const key = readFileSync(fleet.keyFile, 'utf8').trim();
  const target = { url: `http://${LOOPBACK}:${fleet.httpPort}`, key };
  const where = ['--endpoint', `${LOOPBACK}:${fleet.grpcPort}`, '--key-file', fleet.keyFile];
  /** The command in this process: a process for each would be most of the time of this test. */
  const run = async (...args: string[]): Promise<string> => {
    const written: string[] = [];
    const { write } = process.stdout;
    process.stdout.write = ((text: string) => written.push(text) > 0) as typeof write;
    try {
      await buildProgram().parseAsync([...args, ...where], { from: 'user' });
    } finally {
      process.stdout.write = write;
    }
    return written.join('');
  };
  const ask = async (what: string, body?: object): Promise<Record<string, unknown>> => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
    const sent = body === undefined ? { headers } : { headers, method: 'POST', body: JSON.stringify(body) };
    return (await (await fetch(`${target.url}/admin/v1/${what}`, sent)).json()) as Record<string, unknown>;
  };
  const shown = async (): Promise<Shown> => (await ask('resources/deployment/small')) as unknown as Shown;
  const gpusInUse = async (): Promise<number> =>
    new Set((await shown()).status.replicas.map(({ gpus }) => JSON.stringify(gpus))).size;
  const events = async (): Promise<Event[]> => (await ask('events?limit=500'))['events'] as Event[];

  const resource = { apiVersion: 'sophia/v1', kind: 'Deployment', metadata: { name: 'small' }, spec: SPEC };
  t.match(await ask('apply', { resources: [resource] }), { outcomes: [{ outcome: 'created' }] });
  await until(async () => (await shown()).status?.ready === 4 && (await gpusInUse()) === 4, 'four on four GPUs');

  let isOver = false;
  let requests = 0;
  const failed: string[] = [];
  const clients = Array.from({ length: STREAMS }, async (_, index) => {
    for (let turn = 0; !isOver; turn++) {
      const prompt = `client ${index}, turn ${turn}`;
      const body = { model: 'm', prompt, stream: true, max_tokens: 40, ignore_eos: true };
      const { ok, why } = await readStream(
        target,
        { name: prompt, path: '/v1/completions', body },
        { limitMs: LIMIT_MS },
      );
      requests += 1;
      if (ok) continue;
      failed.push(`${prompt}: ${why}`);
      await sleep(LOOK_MS);
    }
  });
  await until(() => requests > STREAMS, 'the streams to run');

  await t.rejects(run('plan', 'defragment', '--apply'), { message: /give --yes/ }, 'nobody to ask');
  await t.rejects(run('plan', 'defragment', '--apply', '--yes', '--plan', 'older'), { code: 'plan_stale' });
  await t.rejects(run('plan', 'defragment', '--cancel'), { code: 'not_found' });
  const ordered = await run('plan', 'defragment', '--apply', '--yes', '--reason', 'whole GPUs');
  t.match(ordered, /^move small[^]*gain: empty GPUs 0 -> \d[^]*Plan \w+: (\d) to move\.\nOrdered \1 moves/);
  const end = async () =>
    (await events()).find(({ kind, resource: of }) => kind === 'lifecycle.ended' && of.kind === 'Defragmentation');
  await until(async () => (await end()) !== undefined, 'the end of the moves');
  const last = (await end()) as Event;
  t.match(last.reason, /^all \d moves are done$/);
  await until(async () => (await shown()).status.ready === 4, 'four again');
  isOver = true;
  await Promise.all(clients);
  t.same(failed, [], `of ${requests} requests`);
  t.ok((await gpusInUse()) < 4);
  const mine = (await events()).filter(({ correlationId }) => correlationId === last.correlationId);
  t.ok(
    mine.some(
      ({ kind, reason }) =>
        kind === 'placement.assigned' && /to make whole GPUs, as ordered by .*: whole GPUs$/.test(reason),
    ),
  );
  t.match(await run('plan', 'defragment'), /Plan: 0 to move\./);
});
