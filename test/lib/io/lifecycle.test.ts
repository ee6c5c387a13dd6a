/** The lifecycle of a process, seen from outside: order, signals, exit codes, and what a person reads. */
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { CodedError } from '../../../lib/errors.ts';
import { createLifecycle, type ProcessPort, reportFatal } from '../../../lib/io/lifecycle.ts';
import { createLogger } from '../../../lib/io/logger.ts';
import { startChild } from '../../support/child.ts';

const CHILD = fileURLToPath(new URL('./lifecycle_child.js', import.meta.url));
const start = (owner: Tap, mode: string, ...rest: string[]) =>
  startChild(owner, { args: [CHILD, mode, ...rest], ipc: true });
type Tap = { teardown(task: () => unknown): void };

const lines = (output: string): string[] => output.trim().split('\n');

t.test('parts start in order and stop in reverse on SIGTERM, and the exit code is 0', async (t) => {
  const child = start(t, 'plain');
  await child.waitFor(/ready/);
  child.signal('SIGTERM');
  t.same(await child.exited, { code: 0, signal: null });
  t.same(lines(child.stdout()), [
    'start first',
    'starting second',
    'start second',
    'ready',
    'stop second',
    'stop first',
  ]);
});

t.test('SIGINT stops too', async (t) => {
  const child = start(t, 'plain');
  await child.waitFor(/ready/);
  child.signal('SIGINT');
  t.equal((await child.exited).code, 0);
  t.match(child.stdout(), /stop first/);
});

for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const) {
  t.test(`a second signal, ${signal}, forces the exit with ${code} while a part hangs`, async (t) => {
    const child = start(t, 'hang-long');
    await child.waitFor(/ready/);
    child.signal('SIGTERM');
    await child.waitFor(/"msg":"stopping"/);
    child.signal(signal);
    t.equal((await child.exited).code, code);
    t.notMatch(child.stdout(), /stop first/);
  });
}

t.test('a stop that exceeds the grace ends the process all the same', async (t) => {
  const child = start(t, 'grace');
  await child.waitFor(/ready/);
  child.signal('SIGTERM');
  t.equal((await child.exited).code, 1);
  t.match(child.stderr(), /longer than the grace/);
});

t.test('a stop while a part is still starting waits for it and then stops it', async (t) => {
  const child = start(t, 'slow-start');
  await child.waitFor(/starting second/);
  child.signal('SIGTERM');
  t.equal((await child.exited).code, 0);
  const order = lines(child.stdout()).filter((line) => line !== 'ready');
  t.same(order, ['start first', 'starting second', 'start second', 'stop second', 'stop first']);
});

t.test('a part that does not stop in time is passed over, and the others stop', async (t) => {
  const child = start(t, 'hang');
  await child.waitFor(/ready/);
  child.signal('SIGTERM');
  t.equal((await child.exited).code, 0);
  t.match(child.stdout(), /stop first/);
  t.match(child.stderr(), /did not stop in time/);
});

t.test('a part whose stop fails does not keep the others from stopping', async (t) => {
  const child = start(t, 'stop-fails');
  await child.waitFor(/ready/);
  child.signal('SIGTERM');
  t.equal((await child.exited).code, 0);
  t.match(child.stdout(), /stop first/);
  t.match(child.stderr(), /part failed to stop/);
});

t.test('when the parent goes away the process stops', async (t) => {
  const child = start(t, 'plain');
  await child.waitFor(/ready/);
  child.process.disconnect();
  t.equal((await child.exited).code, 0);
  t.match(child.stdout(), /stop second\nstop first/);
});

t.test('a configuration error is one sentence and exit code 2; what had started is stopped', async (t) => {
  const child = start(t, 'config');
  t.equal((await child.exited).code, 2);
  t.match(child.stdout(), /start first\nstarting second\nstop first/);
  const plain = lines(child.stderr()).filter((line) => !line.startsWith('{'));
  t.equal(plain.length, 1);
  t.match(plain[0], /^Setting httpPort from flag --http-port is wrong\. Correct the key/);
  t.notMatch(child.stderr(), / at .*\.js:/, 'no stack');
});

t.test('a taken port is one sentence that names it, and exit code 2', async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const child = start(t, 'port', String(port));
  t.equal((await child.exited).code, 2);
  t.match(child.stderr(), new RegExp(`Cannot listen on 127\\.0\\.0\\.1:${port}: the address is in use\\.`));
});

t.test('a bug is logged with its stack, without secrets, and exit code 1', async (t) => {
  const child = start(t, 'bug');
  t.equal((await child.exited).code, 1);
  t.match(child.stderr(), /TypeError.*lifecycle_child/);
  t.notMatch(child.stderr(), /canary/);
});

function fakeProcess() {
  const listeners = new Map<string, () => void>();
  const exits: number[] = [];
  const sentences: string[] = [];
  const port: ProcessPort = {
    on: (event, listener) => listeners.set(event, listener),
    exit: (code) => void exits.push(code),
    complain: (sentence) => void sentences.push(sentence),
  };
  return { port, exits, sentences, emit: (event: string) => listeners.get(event)?.() };
}
const quiet = createLogger({ name: 't', level: 'silent', destination: { write: () => undefined } });

t.test('the second signal exits at once, while a stop hangs', async (t) => {
  const fake = fakeProcess();
  const never = new Promise<void>(() => undefined);
  let forced = 0;
  const lifecycle = createLifecycle({ logger: quiet, graceMs: 200, process: fake.port, onForced: () => forced++ });
  lifecycle
    .add(
      'stuck',
      () => undefined,
      () => never,
    )
    .listen();
  await lifecycle.start();
  fake.emit('SIGTERM');
  t.same(fake.exits, []);
  fake.emit('SIGINT');
  t.same(fake.exits, [130]);
  t.equal(forced, 1, 'what must not outlive the process is ended before it exits');
  fake.emit('SIGTERM');
  t.same(fake.exits, [130, 143]);
  await lifecycle.stop('test');
});

t.test('stop is one stop, however often it is asked for, and ends at the grace', async (t) => {
  let stops = 0;
  const never = new Promise<void>(() => undefined);
  const lifecycle = createLifecycle({ logger: quiet, graceMs: 30 }).add(
    'stuck',
    () => undefined,
    () => {
      stops += 1;
      return never;
    },
  );
  await lifecycle.start();
  const first = lifecycle.stop('one');
  t.equal(lifecycle.stop('two'), first);
  await first;
  t.equal(stops, 1);
});

t.test('misuse is refused', async (t) => {
  const lifecycle = createLifecycle({ logger: quiet, graceMs: 30 });
  await lifecycle.start();
  t.throws(
    () =>
      lifecycle.add(
        'late',
        () => undefined,
        () => undefined,
      ),
    /after the start/,
  );
  await t.rejects(lifecycle.start(), /starts once/);
});

t.test('start throws the failure of the part as a coded error where it is one', async (t) => {
  const taken = Object.assign(new Error('listen'), { code: 'EADDRINUSE', address: '/run/x.sock' });
  const lifecycle = createLifecycle({ logger: quiet, graceMs: 30 }).add(
    'x',
    () => Promise.reject(taken),
    () => undefined,
  );
  await t.rejects(lifecycle.start(), { code: 'address_in_use', message: /\/run\/x\.sock/ });
});

t.test('a fatal error before there is a logger is told on its own', async (t) => {
  const said: string[] = [];
  const complain = (sentence: string): void => void said.push(sentence);
  t.equal(reportFatal(new CodedError('missing_model', 'No file /m.gguf.'), undefined, complain), 2);
  t.match(said[0], /^No file \/m\.gguf\. Give `--model`/);
  t.equal(reportFatal(new CodedError('internal', 'Odd.'), undefined, complain), 1);
  t.equal(reportFatal('a string', undefined, complain), 1);
  t.equal(said[2], 'a string');
});
