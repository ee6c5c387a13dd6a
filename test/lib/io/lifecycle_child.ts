/**
 * A process for lifecycle.test.ts to signal: it prints what starts and stops. Its argument chooses how it behaves.
 */
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError } from '../../../lib/errors.ts';
import { createLifecycle } from '../../../lib/io/lifecycle.ts';
import { createLogger } from '../../../lib/io/logger.ts';

const mode = process.argv[2] ?? '';
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const keepAlive = setInterval(() => undefined, 60_000);

const lifecycle = createLifecycle({
  logger: createLogger({ name: 'child', level: 'info' }),
  graceMs: mode === 'grace' ? 100 : 5_000,
})
  .add(
    'first',
    () => say('start first'),
    () => say('stop first'),
  )
  .add(
    'second',
    async () => {
      say('starting second');
      if (mode === 'slow-start') await sleep(300);
      if (mode === 'config') throw new CodedError('invalid_config', 'Setting httpPort from flag --http-port is wrong.');
      if (mode === 'bug') throw new TypeError('a bug, with sk-canary1234567890 in it');
      if (mode === 'port') {
        const port = Number(process.argv[3]);
        await new Promise<void>((resolve, reject) => {
          createServer().once('error', reject).listen(port, '127.0.0.1', resolve);
        });
      }
      say('start second');
    },
    async () => {
      if (mode === 'hang' || mode === 'hang-long' || mode === 'grace') await sleep(60_000);
      if (mode === 'stop-fails') throw new Error('cannot stop');
      say('stop second');
    },
    mode === 'hang' ? { stopTimeoutMs: 50 } : {},
  )
  .listen()
  .stopWithParent();

await lifecycle.run();
say('ready');
process.on('exit', () => clearInterval(keepAlive));
