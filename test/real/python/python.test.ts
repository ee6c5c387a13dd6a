/**
 * A Python client made from the .proto files alone drives the scheduler's gRPC door. Needs SOPHIA_PYTHON_VENV, the folder
 * that prepare.sh beside this file prints; `.ci/real python` sets it.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { CANARY_KEY, openDoor } from '../../scheduler/grpc/door_fixture.ts';
import type { FakeRun } from '../../scheduler/grpc/fake_generator.ts';

const LIMIT_MS = 60_000;

/** Answers as the checks expect: `max_tokens` tokens as credit allows; `hang` gives one; `full` refuses. */
function play(run: FakeRun): void {
  if (run.request.model === 'full') throw new CodedError('overloaded', 'Full.', { retryAfterMs: 1500 });
  const { max_tokens: count } = JSON.parse(Buffer.from(run.request.body).toString()) as { max_tokens: number };
  const usage = { promptTokens: 2, completionTokens: count };
  let next = 0;
  const push = (): void => {
    if (run.cancelledBecause !== undefined) return;
    if (!run.request.stream) {
      run.body(JSON.stringify({ object: 'chat.completion', choices: [] }), true);
      return run.done(usage);
    }
    while (next < count && run.creditBytes > 0) {
      run.tokens([`t${next}`], [next]);
      next += 1;
      if (run.request.model === 'hang') return;
    }
    if (next === count) {
      next += 1;
      run.done(usage);
    }
  };
  run.onGrant = () => void setImmediate(push);
  setImmediate(push);
}

t.test('a generated Python client speaks to the door', { timeout: LIMIT_MS }, async (t) => {
  const venv = process.env['SOPHIA_PYTHON_VENV'];
  if (venv === undefined)
    throw new Error('SOPHIA_PYTHON_VENV is not set: run test/real/python/prepare.sh, it prints the folder.');
  const fixture = await openDoor(t);
  fixture.generator.onStart = play;
  const root = packageRoot();
  const child = spawn(
    path.join(venv, 'bin/python'),
    [
      path.join(root, 'test/clients/python/check.py'),
      ...['--address', fixture.address(), '--key', CANARY_KEY, '--proto', path.join(root, 'proto')],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], timeout: LIMIT_MS - 5000, killSignal: 'SIGKILL' },
  );
  t.teardown(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  t.equal(code, 0, output);
  const passed = output.match(/^ok check_\w+$/gm) ?? [];
  t.equal(passed.length, 10, 'every check ran');
  t.equal(fixture.generator.running.size, 0, 'what was cancelled or timed out has ended');
});
