/** Where the direct listener may be: off unless asked for, plain text on loopback only, and an address that clients can use. */
import path from 'node:path';
import t from 'tap';
import { settings } from '../../agent/config.ts';
import { createDirectOf } from '../../agent/wire/direct.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { loadSettings } from '../../lib/io/settings.ts';
import { makeCertificates, removeFolder } from '../support/fake_scheduler.ts';

const certificates = await makeCertificates('node-a');
t.teardown(() => removeFolder(certificates.folder));
const { certFile, keyFile } = certificates.agent;
const QUIET = { info() {}, warn() {}, error() {} } as unknown as Logger;
const TLS = ['--direct-cert-file', certFile, '--direct-key-file', keyFile];
const NEEDED = ['--schedulers', 'a:1', '--ca-file', 'x', '--cert-file', 'x', '--key-file', 'x'];

function open(...flags: string[]) {
  const readFile = (): never => t.fail('no file is read') as never;
  const { config } = loadSettings(settings, { argv: [...NEEDED, ...flags], env: {}, readFile });
  return createDirectOf(config, QUIET);
}

t.test('without a port there is no listener', async (t) => {
  t.equal(open(), undefined);
});

t.test('the address that clients get is made of host and port, or given', async (t) => {
  t.equal(open('--direct-port', '0')?.urlOf(7), 'http://127.0.0.1:7');
  t.equal(open('--direct-port', '1', '--direct-host', '::1')?.urlOf(7), 'http://[::1]:7');
  t.equal(open('--direct-port', '1', ...TLS)?.urlOf(7), 'https://127.0.0.1:7');
  t.equal(open('--direct-port', '1', '--direct-url', 'https://gpu.example/')?.urlOf(7), 'https://gpu.example');
  const any = open(
    '--direct-port',
    '1',
    '--direct-host',
    '0.0.0.0',
    '--direct-url',
    'https://gpu.example:8444',
    ...TLS,
  );
  t.equal(any?.urlOf(7), 'https://gpu.example:8444');
  t.ok(any?.settings.tls?.keyPem.includes('PRIVATE KEY'));
});

t.test('what would send tickets in the clear, or clients nowhere, is refused', async (t) => {
  const cases: readonly (readonly [readonly string[], string])[] = [
    [['--direct-host', '10.0.0.1'], 'directHost'],
    [['--direct-host', 'gpu.example'], 'directHost'],
    [['--direct-host', '0.0.0.0', ...TLS], 'directUrl'],
    [['--direct-url', 'https://gpu.example/path'], 'directUrl'],
    [['--direct-url', 'https://gpu.example/?x=1'], 'directUrl'],
    [TLS.slice(0, 2), 'directCertFile'],
    [['--direct-cert-file', path.join(certificates.folder, 'none'), ...TLS.slice(2)], 'directCertFile'],
  ];
  for (const [flags, param] of cases)
    t.throws(() => open('--direct-port', '1', ...flags), { code: 'invalid_config', param }, flags.join(' '));
});
