/**
 * A whole fleet on a host with a real GPU. The engine is a stand-in for vLLM: the simulated engine's surface over a process
 * that really holds GPU memory, started, supervised and ended by the agent as vLLM would be.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { loadNative, type NvmlProcess } from '../../../native/contract.ts';
import type { Engine__Output } from '../../../proto/gen/admin/v1/Engine.ts';
import type { Node__Output } from '../../../proto/gen/admin/v1/Node.ts';
import { makeHome, sophia } from '../../cli/sophia.ts';
import { startFleet, type TestFleet } from '../../support/fleet.ts';
import { until } from '../../support/waits.ts';
import { driverPath, GIB, HELD_BYTES, LIBRARY, MIB, querySmi, scratch } from './host.ts';
import { programFile, python, startProgram } from './programs.ts';

t.setTimeout(600_000);

const SIM = fileURLToPath(new URL('../../../agent/engines/sim/main.js', import.meta.url));
const LIMIT_MS = 90_000;

/** A program that is started as `vllm serve MODEL FLAGS` is. */
function standIn(folder: string): string {
  const file = path.join(folder, 'vllm');
  writeFileSync(
    file,
    `#!/bin/sh
model=$2
shift 2
left=$#
while [ "$left" -gt 0 ]; do
  flag=$1
  shift
  left=$((left - 1))
  case "$flag" in --gpu-memory-utilization=*) ;; *) set -- "$@" "$flag" ;; esac
done
'${python()}' '${programFile('hold.py')}' ${HELD_BYTES} &
exec '${process.execPath}' '${SIM}' --model "$model" "$@"
`,
  );
  chmodSync(file, 0o755);
  return file;
}

const engine = (name: string, utilization: string): object => ({
  name,
  kind: 'vllm',
  model: 'org/stand-in',
  servedModelName: name,
  gpuIds: [0],
  extraFlags: [`--gpu-memory-utilization=${utilization}`],
});

const listed = async (fleet: TestFleet): Promise<Engine__Output[]> =>
  (await fleet.admin<{ engines: Engine__Output[] }>('ListEngines')).engines;

const load = loadNative();
if (load.kind === 'absent') throw new Error('The addon is not built.');
const { native } = load;
await native.open(LIBRARY);

const holders = async (): Promise<readonly NvmlProcess[]> =>
  (await native.processes(0)).filter(({ memoryBytes }) => (memoryBytes ?? 0) >= HELD_BYTES);

t.test('a node with its GPU, an engine with its memory, a death and a stop', async (t) => {
  const fleet = await startFleet(t, {
    engines: [engine('chat', '0.5')],
    agent: { vllmCommand: standIn(scratch(t)), gpuReader: 'auto', gpuPeriodMs: 500 },
    env: driverPath(),
    readyTimeoutMs: LIMIT_MS,
  });
  const node = async (): Promise<Node__Output | undefined> =>
    (await fleet.admin<{ nodes: Node__Output[] }>('ListNodes')).nodes[0];
  const [name, uuid, total, reserved] = querySmi('name', 'uuid', 'memory.total', 'memory.reserved');
  await until(async () => (await node())?.telemetry?.gpus[0]?.memoryUsedBytes !== undefined, 'a reading', LIMIT_MS);
  const seen = await node();
  t.match(seen?.gpus[0], { index: 0, name, uuid });
  t.equal(Number(seen?.gpus[0]?.memoryTotalBytes) / MIB, Number(total), `${total} MiB`);
  // nvidia-smi rounds what is reserved, and where it is the reader also what is used and free.
  const usable = Number(total) - Number(reserved);
  for (const gpu of [seen?.gpus[0], seen?.telemetry?.gpus[0]])
    t.ok(Math.abs(Number(gpu?.memoryUsableBytes) / MIB - usable) <= 3, `${usable} MiB for programs`);
  t.match(seen?.telemetry?.gpus[0], { health: 'ok', migEnabled: false });

  const reading = async () => (await node())?.telemetry?.engines.find((one) => one.engine === 'chat');
  await until(async () => ((await reading())?.gpuMemoryBytes ?? 0) >= HELD_BYTES, 'memory of the engine', LIMIT_MS);
  const bytes = Number((await reading())?.gpuMemoryBytes);
  t.ok(bytes < HELD_BYTES + 2 * GIB, `the engine has ${Math.round(bytes / MIB)} MiB`);

  const answer = await fetch(`${fleet.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${fleet.key}` },
    body: JSON.stringify({ model: 'chat', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 4 }),
  });
  t.equal(answer.status, 200, await answer.text());

  const home = makeHome(t);
  for (const args of [
    ['node', 'list'],
    ['gpu', 'list'],
    ['engine', 'list'],
  ]) {
    const shown = await sophia(t, home, ['--endpoint', fleet.grpcAddress, ...args], { SOPHIA_KEY: fleet.key });
    t.equal(shown.code, 0, shown.stderr);
    t.comment(`sophia ${args.join(' ')}\n${shown.stdout}`);
    if (args[0] === 'gpu') t.match(shown.stdout, new RegExp(`${name}.* ok `));
  }

  const [first] = await holders();
  const [chat] = fleet.engines;
  process.kill(chat?.pid ?? -1, 'SIGKILL');
  const killedAtMs = performance.now();
  let together = 0;
  let freedAfterMs = Number.NaN;
  await until(
    async () => {
      const now = await holders();
      together = Math.max(together, now.length);
      if (!now.some(({ pid }) => pid === first?.pid) && Number.isNaN(freedAfterMs))
        freedAfterMs = performance.now() - killedAtMs;
      return now.some(({ pid }) => pid !== first?.pid);
    },
    'the next life on the GPU',
    LIMIT_MS,
  );
  t.equal(together, 1, 'the next life begins when the memory of the last one is free');
  t.comment(
    `memory free ${freedAfterMs.toFixed(0)} ms after the death, next life there after ${(performance.now() - killedAtMs).toFixed(0)} ms`,
  );
  await until(async () => (await listed(fleet))[0]?.routable === true, 'the engine to serve again', LIMIT_MS);
  const text = ['--endpoint', fleet.grpcAddress, 'engine', 'show', 'chat'];
  const journal = await sophia(t, home, text, { SOPHIA_KEY: fleet.key });
  t.comment(journal.stdout);
  t.notMatch(journal.stdout, /gpu_not_released|gpu_release_unknown/);
  const stopAtMs = performance.now();
  await fleet.stop();
  t.same(await holders(), [], 'a fleet that has stopped holds nothing');
  t.comment(`stopped in ${(performance.now() - stopAtMs).toFixed(0)} ms`);
});

t.test('an engine that finds too little memory free is not started, and says so in figures', async (t) => {
  const [total] = querySmi('memory.total');
  const holder = await startProgram('hold.py', [String(Math.floor(Number(total) * 0.2) * MIB)], /held/);
  t.teardown(() => holder.stop());
  const fleet = await startFleet(t, {
    engines: [engine('greedy', '0.9')],
    agent: { vllmCommand: standIn(scratch(t)), gpuReader: 'auto', gpuPeriodMs: 500 },
    env: driverPath(),
    awaitRoutable: 0,
    readyTimeoutMs: LIMIT_MS,
  });
  const message = async (): Promise<string> => (await listed(fleet))[0]?.event?.message ?? '';
  await until(async () => /GPU 0: .* are free, .* are needed/.test(await message()), 'the reason', LIMIT_MS);
  t.comment(await message());
  t.same(await holders(), await native.processes(0), 'only the stranger is on the GPU');
  holder.stop();
  await until(async () => (await listed(fleet))[0]?.routable === true, 'its start once there is room', LIMIT_MS);
  await fleet.stop();
});
