/** The GPU reader with a false nvidia-smi on PATH: several GPUs, one, none, garbage, complaints, and one that hangs. */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { createGpuReader } from '../../../agent/adapters/gpu/gpu_sensor.ts';
import type { GpuReader } from '../../../agent/ports.ts';
import { normalise, parseFigure } from '../../../agent/sensor/nvidia_smi.ts';
import { createLogger } from '../../../lib/io/logger.ts';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { removeFolder, until } from '../../support/fake_scheduler.ts';
import { OPTIONS } from '../../support/gpu_bench.ts';

const gpuXml = (
  uuid: string,
): string => `<gpu id="00000009:01:00.0"><product_name>NVIDIA GH200 480GB</product_name><uuid>${uuid}</uuid>
<fb_memory_usage><total>97871 MiB</total><reserved>500 MiB</reserved><used>1024 MiB</used></fb_memory_usage>
<utilization><gpu_util>35 %</gpu_util></utilization><temperature><gpu_temp>31 C</gpu_temp></temperature>
<gpu_power_readings><power_draw>N/A</power_draw><instant_power_draw>98.5 W</instant_power_draw></gpu_power_readings></gpu>`;
const xml = (...gpus: readonly string[]): string =>
  `<?xml version="1.0" ?><nvidia_smi_log><driver_version>570.124.06</driver_version><attached_gpus>${gpus.length}</attached_gpus>${gpus.join('')}</nvidia_smi_log>`;

interface Bench {
  readonly reader: GpuReader;
  readonly failures: string[];
  readonly folder: string;
}

/** A reader whose PATH begins with a folder that holds this script as nvidia-smi. */
function bench(
  t: { teardown: (work: () => Promise<void>) => unknown },
  script: string | undefined,
  reader: 'auto' | 'nvidia-smi' | 'none' = 'nvidia-smi',
  deadlineMs = 5000,
): Bench {
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-smi-'));
  if (script !== undefined) {
    writeFileSync(path.join(folder, 'nvidia-smi'), `#!/bin/sh\n${script}\n`);
    chmodSync(path.join(folder, 'nvidia-smi'), 0o755);
  }
  const failures: string[] = [];
  const made = createGpuReader({
    reader,
    nvmlLibrary: path.join(folder, 'libnvidia-ml.so.1'),
    nvmlTimeoutMs: 20_000,
    nvidiaSmiTimeoutMs: deadlineMs,
    periodMs: 100,
    nvidiaSmiPeriodMs: 100,
    clock: systemClock,
    random: systemRandom,
    logger: createLogger({ name: 'test', level: 'silent' }),
    environment: { PATH: script === undefined ? folder : `${folder}:/usr/bin:/bin` },
    onFailure: (reason) => failures.push(reason),
  });
  t.teardown(async () => {
    await made.stop();
    await removeFolder(folder);
  });
  return { reader: made, failures, folder };
}

const print = (text: string): string => `cat <<'END'\n${text}\nEND`;

t.test('two GPUs, with figures in base units', async (t) => {
  const { reader } = bench(t, print(xml(gpuXml('GPU-1'), gpuXml('GPU-2'))));
  await reader.start();
  const { gpus, source, reason } = reader.latest();
  t.equal(source, 'nvidia-smi');
  t.equal(reason, undefined);
  t.same(
    gpus.map((gpu) => gpu.index),
    [0, 1],
  );
  t.match(gpus[0], {
    uuid: 'GPU-1',
    name: 'NVIDIA GH200 480GB',
    driverVersion: '570.124.06',
    utilizationRatio: 0.35,
    memoryUsedBytes: 1024 ** 3,
    memoryTotalBytes: 97_871 * 1024 ** 2,
    temperatureCelsius: 31,
    powerWatts: 98.5,
  });
});

t.test('one GPU, and what is not known stays absent', async (t) => {
  const { reader } = bench(
    t,
    print(
      xml(
        '<gpu><uuid>N/A</uuid><utilization><gpu_util>N/A</gpu_util></utilization><fb_memory_usage><used>[Not Supported]</used></fb_memory_usage></gpu>',
      ),
    ),
  );
  await reader.start();
  t.same(reader.latest().gpus, [{ index: 0, driverVersion: '570.124.06' }]);
});

t.test('no GPU is an answer with a reason', async (t) => {
  const { reader } = bench(t, print(xml()));
  await reader.start();
  t.match(reader.latest(), { source: 'nvidia-smi', gpus: [], reason: 'nvidia-smi lists no GPU' });
});

t.test('no nvidia-smi is a normal answer, and so is a reader that is turned off', async (t) => {
  const absent = bench(t, undefined, 'auto').reader;
  await absent.start();
  t.match(absent.latest(), {
    source: 'none',
    gpus: [],
    reason: /native addon is not built|libnvidia-ml.so.1.*no nvidia-smi on PATH/,
  });
  const off = bench(t, print(xml(gpuXml('GPU-1'))), 'none').reader;
  await off.start();
  t.match(off.latest(), { source: 'none', gpus: [], reason: /turned off/ });
});

t.test('a program that fails, complains or prints garbage gives a reason and no figures', async (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [
      'echo "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver." >&2; exit 9',
      /could not communicate/,
    ],
    [print('this is not xml'), /nvidia-smi failed|not its XML/],
    [print('<html><body/></html>'), /not its XML/],
    ['exit 0', /not its XML/],
  ];
  for (const [script, reason] of cases) {
    const { reader, failures } = bench(t, script);
    await reader.start();
    t.match(reader.latest().reason, reason, script);
    t.same(reader.latest().gpus, []);
    t.equal(failures[0], 'failed');
  }
});

/** Live processes whose command line holds `text`. */
const processesWith = (text: string): string[] =>
  readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(text);
    } catch {
      return false;
    }
  });

t.test('one that hangs is killed with its reader, and a later answer is taken', async (t) => {
  const { reader, failures, folder } = bench(
    t,
    `if [ -e "$(dirname "$0")/well" ]; then ${print(xml(gpuXml('GPU-1')))}\nelse exec sleep 987; fi`,
    'nvidia-smi',
    2500,
  );
  await reader.start();
  await until(() => failures.includes('timeout'), 'the deadline');
  t.match(reader.latest(), { gpus: [], reason: /did not answer within 2500 ms/ });
  await until(() => processesWith('sleep\u0000987').length === 0, 'the hanging program to be gone');
  writeFileSync(path.join(folder, 'well'), '');
  await until(() => reader.latest().gpus.length === 1, 'a good answer');
  t.equal(reader.latest().reason, undefined);
});

t.test('stopping in the middle of a hang leaves nothing behind', async (t) => {
  const { reader } = bench(t, 'exec sleep 986', 'nvidia-smi', 60_000);
  const starting = reader.start();
  await until(() => processesWith('sleep\u0000986').length > 0, 'the program to run');
  await reader.stop();
  await starting;
  await until(() => processesWith('sleep\u0000986').length === 0, 'the program to be gone');
  t.pass();
});

t.test('the sensor looks for the driver where the agent was told to, and inherits nothing else', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-smi-'));
  const script = `#!/bin/sh
cat <<END
${xml('<gpu><uuid>$LD_LIBRARY_PATH</uuid><product_name>secret: $CANARY</product_name></gpu>')}
END
`;
  writeFileSync(path.join(folder, 'nvidia-smi'), script);
  chmodSync(path.join(folder, 'nvidia-smi'), 0o755);
  const reader = createGpuReader({
    ...OPTIONS,
    reader: 'nvidia-smi',
    nvmlLibrary: path.join(folder, 'none'),
    environment: { PATH: `${folder}:/usr/bin:/bin`, LD_LIBRARY_PATH: '/drivers/lib64', CANARY: 'x' },
  });
  t.teardown(async () => {
    await reader.stop();
    await removeFolder(folder);
  });
  await reader.start();
  t.match(reader.latest().gpus, [{ uuid: '/drivers/lib64', name: 'secret:' }]);
});

t.test('figures are read with their units or not at all', async (t) => {
  t.equal(parseFigure('2 GiB', 'GiB'), 2 * 1024 ** 3);
  t.equal(parseFigure('12.5 W', 'W'), 12.5);
  for (const text of ['12', '12 W W', '-3 C', '1e3 W', '', 'N/A', '12 Q', undefined])
    t.equal(parseFigure(text, 'W', 'C'), undefined, String(text));
  t.throws(() => normalise({}));
  t.throws(() => normalise(null));
  t.throws(() => normalise({ nvidia_smi_log: { gpu: Array.from({ length: 65 }, () => ({})) } }));
});
