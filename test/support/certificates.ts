/** Certificates of a made-up authority, for tests of both ends of the agents' door. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createCa, issueCertificate, type PemPair, writePair } from '../../lib/io/local_ca.ts';

export interface TestCertificates {
  readonly folder: string;
  readonly ca: PemPair;
  readonly server: PemPair;
  readonly caFile: string;
  readonly agent: { readonly certFile: string; readonly keyFile: string };
}

/** An authority, a server pair for loopback and an agent pair, as files in a private folder. */
export async function makeCertificates(nodeName: string): Promise<TestCertificates> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-pki-'));
  const nowMs = Date.now();
  const ca = await createCa('test authority', nowMs);
  const server = await issueCertificate(ca, { commonName: 'scheduler', hosts: ['127.0.0.1', 'localhost'], nowMs });
  const agent = await issueCertificate(ca, { commonName: nodeName, hosts: [], nowMs });
  const { certFile: caFile } = await writePair(folder, 'ca', ca);
  return { folder, ca, server, caFile, agent: await writePair(folder, 'agent', agent) };
}
