/** Certificates of a fleet in one folder, for schedulers and agents that tests put together themselves. */
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { createCa, issueCertificate, type PemPair, writePair } from '../../../lib/io/local_ca.ts';

export interface FleetTls {
  readonly caFile: string;
  agent(name: string): Promise<{ readonly certFile: string; readonly keyFile: string }>;
}

export async function makeTls(root: string): Promise<FleetTls> {
  const folder = path.join(root, 'tls');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const nowMs = Date.now();
  const ca: PemPair = await createCa('test authority', nowMs);
  await writePair(
    folder,
    'scheduler',
    await issueCertificate(ca, { commonName: 'scheduler', hosts: ['localhost', '127.0.0.1'], nowMs }),
  );
  const { certFile: caFile } = await writePair(folder, 'ca', ca);
  return {
    caFile,
    agent: async (name) => writePair(folder, name, await issueCertificate(ca, { commonName: name, hosts: [], nowMs })),
  };
}

/** What a scheduler's door takes. */
export async function openTlsFiles(root: string) {
  const read = (name: string): Promise<string> => readFile(path.join(root, 'tls', name), 'utf8');
  return { certPem: await read('scheduler.crt'), keyPem: await read('scheduler.key'), caPem: await read('ca.crt') };
}
