/**
 * The official `openai` package for Python against a fleet. Needs SOPHIA_CLIENTS_VENV, the folder that prepare.sh
 * beside this file prints; `.ci/real clients` sets it.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { MAX_BODY_BYTES, MODEL, SILENT_MODEL, startClientFleet } from '../../clients/client_fleet.ts';

const LIMIT_MS = 120_000;
const CHECKS = 13;

t.setTimeout(LIMIT_MS + 30_000);

t.test('the Python package works unmodified', async (t) => {
  const venv = process.env['SOPHIA_CLIENTS_VENV'];
  if (venv === undefined) {
    throw new Error('SOPHIA_CLIENTS_VENV is not set: run test/real/clients/prepare.sh, it prints the folder.');
  }
  const { fleet, engine, idle } = await startClientFleet(t);
  if (!('socketPath' in engine.address)) throw new Error('the engine does not listen on a Unix socket');
  const flags = { url: fleet.url, key: fleet.key, model: MODEL, 'silent-model': SILENT_MODEL };
  const more = { 'engine-socket': engine.address.socketPath, 'max-body-bytes': String(MAX_BODY_BYTES) };
  const child = spawn(
    path.join(venv, 'bin/python'),
    [
      path.join(packageRoot(), 'test/clients/openai_python/check.py'),
      ...Object.entries({ ...flags, ...more }).flatMap(([name, value]) => [`--${name}`, value]),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], timeout: LIMIT_MS, killSignal: 'SIGKILL' },
  );
  t.teardown(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (code !== 0) t.comment(output);
  t.equal(code, 0, 'no check failed');
  t.equal((output.match(/^ok check_\w+$/gm) ?? []).length, CHECKS, 'every check ran');
  await idle();
  await fleet.stop();
});
