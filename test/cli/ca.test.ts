/** `sophia ca`: what it issues works for mutual TLS, and a second run changes nothing unless something must change. */
import { X509Certificate } from 'node:crypto';
import { copyFileSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import t from 'tap';
import { makeHome, sophia } from './sophia.ts';

interface Issued {
  readonly changed: boolean;
  readonly reason?: string;
  readonly certFile: string;
  readonly keyFile: string;
}

// Each step is a process of its own: above tap's 30 s on a busy machine.
t.setTimeout(180_000);

const home = makeHome(t);
const dir = path.join(home.root, 'authority');

async function ca(args: readonly string[]): Promise<Issued> {
  const done = await sophia(t, home, ['--json', 'ca', ...args, '--dir', dir]);
  t.equal(done.code, 0, done.stderr);
  return JSON.parse(done.stdout.trim().split('\n').at(-1) as string) as Issued;
}

t.test('without an authority nothing is issued', async (t) => {
  const done = await sophia(t, home, ['ca', 'issue', 'node-1', '--dir', dir]);
  t.equal(done.code, 2);
  t.match(done.stderr, /no authority.*ca init/);
});

t.test('an authority is made once, with a key that only its owner reads', async (t) => {
  const first = await ca(['init']);
  const second = await ca(['init']);
  t.equal(first.changed, true);
  t.equal(second.changed, false);
  t.equal(statSync(path.join(dir, 'ca.key')).mode & 0o777, 0o600);
});

t.test('a server and an agent of the authority accept each other', async (t) => {
  const server = await ca(['issue', 'scheduler-1', '--host', 'localhost', '--host', '127.0.0.1']);
  const agent = await ca(['issue', 'node-1']);
  const authority = readFileSync(path.join(dir, 'ca.crt'));
  const files = ({ certFile, keyFile }: Issued) => ({
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
    ca: authority,
  });
  const listener = createServer({ ...files(server), requestCert: true, rejectUnauthorized: true });
  t.teardown(() => listener.close());
  const name = new Promise<string | undefined>((resolve) => {
    listener.on('secureConnection', (socket: TLSSocket) => {
      const common = socket.getPeerCertificate().subject.CN;
      resolve(Array.isArray(common) ? common[0] : common);
      socket.end();
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as { port: number };
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ...files(agent) });
  t.teardown(() => socket.destroy());
  t.equal(await name, 'node-1');
});

t.test('a certificate that still serves is left alone, however its hosts are spelt', async (t) => {
  const args = ['issue', 'scheduler-2', '--host', 'Front.example', '--host', 'fd00::1', '--host', '10.0.0.2'];
  const first = await ca(args);
  const again = await ca([
    'issue',
    'scheduler-2',
    '--host',
    '10.0.0.2',
    '--host',
    'front.example',
    '--host',
    'fd00:0::1',
  ]);
  t.equal(first.changed, true);
  t.equal(again.changed, false);
  t.match(new X509Certificate(readFileSync(first.certFile)).subjectAltName, /Front\.example/i);
});

t.test('it is issued anew for other hosts, before it expires, and under another authority', async (t) => {
  await ca(['issue', 'scheduler-3', '--host', 'a.example']);
  const moved = await ca(['issue', 'scheduler-3', '--host', 'b.example']);
  t.equal(moved.reason, 'it carried other hosts');
  const renewed = await ca(['issue', 'scheduler-3', '--host', 'b.example', '--renew-days', '800']);
  t.equal(renewed.changed, false, '825 days are left');
  const other = path.join(home.root, 'other');
  const init = await sophia(t, home, ['ca', 'init', '--dir', other]);
  t.equal(init.code, 0);
  for (const file of ['scheduler-3.crt', 'scheduler-3.key']) copyFileSync(path.join(dir, file), path.join(other, file));
  const foreign = await sophia(t, home, [
    '--json',
    'ca',
    'issue',
    'scheduler-3',
    '--host',
    'b.example',
    '--dir',
    other,
  ]);
  t.equal((JSON.parse(foreign.stdout) as Issued).reason, 'another authority signed it');
});

t.test('a name that is no host name, and a host that is none, are refused', async (t) => {
  for (const args of [['../node'], ['ca'], ['node-1', '--host', 'a b'], ['node-1', '--renew-days', 'soon']]) {
    const done = await sophia(t, home, ['ca', 'issue', ...args, '--dir', dir]);
    t.equal(done.code, 2, args.join(' '));
  }
});
