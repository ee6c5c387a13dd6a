/** "Unknown" on the real wire: a sample without readings arrives without readings, never as zeros. */
import { credentials, makeClientConstructor, Server, ServerCredentials } from '@grpc/grpc-js';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../lib/io/package_root.ts';
import { generateTypes } from '../../proto/generate.ts';
import type { AgentMessage__Output } from '../../proto/gen/fleet/v1/AgentMessage.ts';
import type { FleetClient } from '../../proto/gen/fleet/v1/Fleet.ts';
import type { Telemetry } from '../../proto/gen/fleet/v1/Telemetry.ts';
import { fleetMessages, fleetService } from '../../proto/load.ts';

/** Sends telemetry through a real session and gives what arrived. */
async function throughTheWire(t: Tap, samples: readonly Telemetry[]): Promise<AgentMessage__Output[]> {
  const server = new Server();
  const arrived: AgentMessage__Output[] = [];
  server.addService(fleetService, {
    Session: (call: NodeJS.EventEmitter & { end(): void }) => {
      call.on('data', (message: AgentMessage__Output) => arrived.push(message)).on('end', () => call.end());
    },
    Lane: (call: { end(): void }) => call.end(),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  t.teardown(() => server.forceShutdown());
  const Constructor = makeClientConstructor(fleetService, 'Fleet');
  const client = new Constructor(`127.0.0.1:${port}`, credentials.createInsecure()) as unknown as FleetClient;
  t.teardown(() => client.close());
  const call = client.session();
  const ended = new Promise<void>((resolve, reject) => call.on('end', resolve).on('error', reject).resume());
  for (const telemetry of samples) call.write({ seq: 1, telemetry });
  call.end();
  await ended;
  return arrived;
}
interface MessageShape {
  readonly field: readonly { name: string; type: string; label: string; oneofIndex?: number }[];
  readonly oneofDecl: readonly { name: string }[];
}
type Tap = { teardown(task: () => void): void };

t.test('an empty sample decodes with every reading absent; a zero stays a zero', async (t) => {
  const [empty, nested, zeros] = await throughTheWire(t, [
    {},
    { host: {}, gpus: [{ index: 0 }], engines: [{ engine: 'e', incarnation: 1 }] },
    {
      atMs: 0,
      host: { memoryUsedBytes: 0 },
      gpus: [{ index: 0, utilizationRatio: 0 }],
      engines: [{ runningRequests: 0 }],
    },
  ]);
  const noNews = { snapshot: false, goneGpus: [], goneEngines: [], models: [], goneModels: [], agent: null };
  t.same(empty?.telemetry, { host: null, gpus: [], engines: [], ...noNews });
  t.same(nested?.telemetry, {
    host: {},
    gpus: [{ index: 0 }],
    engines: [{ engine: 'e', incarnation: 1 }],
    ...noNews,
  });
  t.equal(zeros?.telemetry?.atMs, 0);
  t.equal(zeros?.telemetry?.host?.memoryUsedBytes, 0);
  t.equal(zeros?.telemetry?.gpus[0]?.utilizationRatio, 0);
  t.equal(zeros?.telemetry?.engines[0]?.runningRequests, 0);
});

t.test('every reading of the interface is optional', async (t) => {
  for (const name of ['Telemetry', 'HostReading', 'GpuReading', 'EngineReading', 'HostFacts', 'GpuFacts'] as const) {
    const { field, oneofDecl } = fleetMessages[name].type as unknown as MessageShape;
    // Names, and what kind of message it is: no readings.
    const names = new Set(['index', 'engine', 'incarnation', 'snapshot']);
    for (const { name: fieldName, type, label, oneofIndex } of field) {
      if (type === 'TYPE_MESSAGE' || label === 'LABEL_REPEATED' || names.has(fieldName)) continue;
      // A proto3 optional field is the only member of a oneof named after it.
      t.equal(oneofIndex === undefined ? '' : oneofDecl[oneofIndex]?.name, `_${fieldName}`, `${name}.${fieldName}`);
    }
  }
});

t.test('the committed types equal the .proto files, and drift is told by exit code', async (t) => {
  t.same(generateTypes(path.join(packageRoot(), 'proto', 'gen'), false), []);
  const folder = mkdtempSync(path.join(tmpdir(), 'sophia-drift-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(path.join(packageRoot(), 'proto', 'gen'), folder, { recursive: true });
  writeFileSync(path.join(folder, 'inference/v1/Usage.ts'), 'export {};\n');
  writeFileSync(path.join(folder, 'left_over.ts'), 'export {};\n');
  t.same(generateTypes(folder, true), ['inference/v1/Usage.ts', 'left_over.ts']);
  t.same(generateTypes(folder, false), []);
  const program = path.join(import.meta.dirname, '../../proto/generate.js');
  t.match(execFileSync(process.execPath, [program, '--check'], { encoding: 'utf8' }), /equals/);
  t.equal(spawnSync(process.execPath, [program, '--chekc']).status, 2);
});
