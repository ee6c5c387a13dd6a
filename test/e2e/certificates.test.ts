/** A scheduler as a process whose certificates are rotated under it, looked at through both of its TLS doors. */
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { type PemPair, writePair } from '../../lib/io/local_ca.ts';
import { mainOf } from '../../lib/io/local_fleet.ts';
import { eventually, startChild } from '../support/child.ts';
import { type Authority, createFakeAgent, endsSoon, readyEngine, testAuthority } from '../support/fake_agent.ts';

const LIMIT_MS = 15_000;
const root = await mkdtemp(path.join(tmpdir(), 'rotation-'));
t.teardown(() => rm(root, { recursive: true, force: true }));
const [first, next, strange] = await Promise.all([testAuthority(), testAuthority(), testAuthority()]);
const keyFile = path.join(root, 'first.key');

const put = async (name: string, signer: Authority) =>
  writePair(root, name, await signer.issue('scheduler', ['localhost']));

/** Connects without judging the server; `serial` is that of its certificate. */
function dial(port: number, pair?: PemPair, session?: Buffer) {
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    ...(pair === undefined ? {} : { cert: pair.certPem, key: pair.keyPem }),
    ...(session === undefined ? {} : { session }),
  });
  // The server judges a certificate after the handshake: whoever is let in gets the first frame of HTTP/2, others the end.
  const admitted = new Promise<boolean>((resolve) => {
    socket.once('data', () => resolve(true));
    socket.once('close', () => resolve(false));
    socket.once('error', () => resolve(false));
  });
  const serial = new Promise<string | undefined>((resolve) => {
    socket.once('secureConnect', () => resolve(socket.getPeerX509Certificate()?.serialNumber));
    socket.once('close', () => resolve(undefined));
  });
  const ticket = new Promise<Buffer>((resolve) => {
    socket.once('session', resolve);
  });
  return { socket, serial, ticket, admitted };
}

async function serialOf(port: number, pair?: PemPair): Promise<string | undefined> {
  const { socket, serial } = dial(port, pair);
  const seen = await serial;
  socket.destroy();
  return seen;
}

const serialIn = async (file: string): Promise<string> => new X509Certificate(await readFile(file)).serialNumber;

t.test('new handshakes use new certificates and authorities; what stands goes on', async (t) => {
  const ca = await writePair(root, 'ca', first.ca);
  const fleet = await put('fleet', first);
  const grpc = await put('grpc', first);
  const config = path.join(root, 'scheduler.json');
  await writeFile(
    config,
    JSON.stringify({
      httpPort: 0,
      grpcPort: 0,
      fleetPort: 0,
      fleetCertFile: fleet.certFile,
      fleetKeyFile: fleet.keyFile,
      fleetCaFile: ca.certFile,
      grpcCertFile: grpc.certFile,
      grpcKeyFile: grpc.keyFile,
      dataDir: path.join(root, 'data'),
      bootstrapKeyFile: keyFile,
      tlsReloadMs: 100,
    }),
  );
  const child = startChild(t, { args: [mainOf('scheduler'), '--config', config] });
  const [line] = await child.waitFor(/^\{"type":"ready".*\}$/m, LIMIT_MS);
  const { httpPort, grpcPort, fleetPort } = JSON.parse(line) as Record<'httpPort' | 'grpcPort' | 'fleetPort', number>;
  const metrics = async (): Promise<string> => {
    const authorization = `Bearer ${(await readFile(keyFile, 'utf8')).trim()}`;
    return (await fetch(`http://127.0.0.1:${httpPort}/metrics`, { headers: { authorization } })).text();
  };
  const agentOf = async (signer: Authority, trusted: Authority, name: string) => {
    const pair = await signer.issue(name);
    const authority = { ...signer, ca: trusted.ca };
    const agent = createFakeAgent({ port: fleetPort, authority, pair, nodeName: name, sessionId: 's1' });
    t.teardown(() => agent.close());
    return agent;
  };
  const oldPair = await first.issue('gpu-1');
  const session = (await agentOf(first, first, 'gpu-1')).openSession();
  await eventually('a welcome', () => session.received.length > 0, LIMIT_MS);
  let cut = false;
  void session.ended.then(() => (cut = true));

  await writeFile(ca.certFile, first.ca.certPem + next.ca.certPem);
  await put('fleet', next);
  await put('grpc', next);
  const [fleetSerial, grpcSerial] = [await serialIn(fleet.certFile), await serialIn(grpc.certFile)];
  await eventually(
    'the new pair on the door for agents',
    async () => (await serialOf(fleetPort, oldPair)) === fleetSerial,
    LIMIT_MS,
  );
  await eventually('the new pair on the gRPC door', async () => (await serialOf(grpcPort)) === grpcSerial, LIMIT_MS);
  const renewed = (await agentOf(next, next, 'gpu-2')).openSession();
  await eventually('a welcome for an agent of the next authority', () => renewed.received.length > 0, LIMIT_MS);
  const stranger = (await agentOf(strange, next, 'gpu-3')).openSession();
  t.equal((await endsSoon(stranger))?.code, status.UNAVAILABLE, 'a stranger is refused');
  t.match(await metrics(), /sophia_certificate_reloads_total\{certificate="fleet",outcome="loaded"\} [1-3]\n/);
  t.match(await metrics(), /sophia_certificate_expiry_timestamp_seconds\{certificate="grpc"\} \d{10}/);

  await writeFile(fleet.keyFile, 'half of a k');
  await child.waitFor(/changed certificates are not sound/, LIMIT_MS);
  t.equal(await serialOf(fleetPort, oldPair), fleetSerial, 'a broken file leaves the old pair');
  await put('fleet', next);

  const before = dial(fleetPort, oldPair);
  const ticket = await before.ticket;
  t.ok(await before.admitted);
  await writeFile(ca.certFile, next.ca.certPem);
  await eventually(
    'an agent of the old authority to be refused',
    async () => {
      const { socket, admitted } = dial(fleetPort, oldPair);
      const isIn = await admitted;
      socket.destroy();
      return !isIn;
    },
    LIMIT_MS,
  );
  const resumed = dial(fleetPort, oldPair, ticket);
  t.notOk(await resumed.admitted, 'a ticket from before does not open the door');
  resumed.socket.destroy();
  before.socket.destroy();

  t.equal(cut, false, 'the session of the start still stands');
  session.event(readyEngine('engine-of-gpu-1', 'm'));
  await eventually('what it says to be heard', async () => (await metrics()).includes('engine-of-gpu-1'), LIMIT_MS);
  child.signal('SIGTERM');
  t.equal((await child.exited).code, 0);
});
