/** Two agents' parts beside each other: a node that gives a model, and what another needs to take it from there. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { type CryptoKey, importPKCS8 } from 'jose';
import { PeerBook, sumName } from '../../../agent/adapters/model_files/peer_book.ts';
import { ModelDoor } from '../../../agent/workers/model_door.ts';
import type { ModelDoorReport, ModelDoorSettings, ServedModel } from '../../../agent/workers/model_door_messages.ts';
import { bytesOf, COMMIT, type SourceFile, sumOf } from '../../../bench/models/source_server.ts';
import { createCa, issueCertificate, type PemPair } from '../../../lib/io/local_ca.ts';
import type { TlsMaterial } from '../../../lib/io/tls_files.ts';
import type { ModelTicketClaims } from '../../../lib/model_ticket.ts';
import { signModelTicket, ticketKeyId } from '../../../proto/ticket_jws.ts';
import { until } from '../../support/waits.ts';
import { temporary } from './place.ts';

interface Owner {
  teardown(task: () => unknown): void;
}

export const SOURCE = 'hf://maker/model';
export const GIVER = 'gpu-1';
export const TAKER = 'gpu-2';

let authority: Promise<PemPair> | undefined;

/** Certificates of a node, all of one authority. */
export async function nodeTls(node: string): Promise<TlsMaterial> {
  authority ??= createCa('test authority', Date.now());
  const ca = await authority;
  const { certPem, keyPem } = await issueCertificate(ca, { commonName: node, hosts: [], nowMs: Date.now() });
  return { caPem: ca.certPem, certPem, keyPem };
}

export interface TestKey {
  readonly keyId: string;
  readonly publicKey: Uint8Array;
  readonly privateKey: CryptoKey;
}

export async function makeKey(): Promise<TestKey> {
  const pair = generateKeyPairSync('ed25519');
  const publicKey = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
  const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  return { keyId: await ticketKeyId(publicKey), publicKey, privateKey: await importPKCS8(pem, 'EdDSA') };
}

/** Lays the files down as a published model has them. */
export function shelve(folder: string, files: readonly SourceFile[]): ServedModel {
  const entries = files.map((file) => {
    const place = path.join(folder, file.path);
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, Buffer.concat([...bytesOf(file, 0, file.bytes)]));
    const { mtimeMs } = statSync(place);
    const check = /\.(safetensors|gguf)$/.test(file.path)
      ? ({ kind: 'sha256', hex: sumOf(file) } as const)
      : ({ kind: 'git', hex: sumOf(file, 'git') } as const);
    return { path: file.path, bytes: file.bytes, mtimeMs, sum: sumName({ check }) };
  });
  return { source: SOURCE, resolved: COMMIT, folder, files: entries };
}

export interface Giver {
  readonly door: ModelDoor;
  readonly port: number;
  readonly model: ServedModel;
  readonly reports: ModelDoorReport[];
  ticket(change?: Partial<ModelTicketClaims>, key?: TestKey): Promise<string>;
  refusals(): Record<string, number>;
  servedBytes(): number;
}

export async function giver(
  t: Owner,
  files: readonly SourceFile[],
  settings: Partial<ModelDoorSettings> = {},
): Promise<Giver> {
  const key = await makeKey();
  const reports: ModelDoorReport[] = [];
  const nodeName = settings.nodeName ?? GIVER;
  const door = new ModelDoor(
    {
      ...{ nodeName, host: '127.0.0.1', port: 0, clockSkewMs: 1000, maxTransfers: 4, bandwidth: 0 },
      stallTimeoutMs: 10_000,
      tls: settings.tls ?? (await nodeTls(nodeName)),
      ...settings,
    },
    (report) => void reports.push(report),
  );
  const model = shelve(path.join(temporary(t), 'model@tag'), files);
  door.setModels([model]);
  door.setIssuers([{ scheduler: 's:1', issuer: 'first', keys: [key] }]);
  door.start();
  t.teardown(() => door.stop());
  const opened = () => reports.find((report) => report.what === 'open');
  await until(() => opened() !== undefined && reports.some(({ what }) => what === 'keys'), 'the door');
  const nowS = Math.floor(Date.now() / 1000);
  return {
    door,
    model,
    reports,
    port: opened()?.port ?? 0,
    ticket: (change = {}, signer = key) =>
      signModelTicket(signer.privateKey, signer.keyId, {
        ...{ iss: 'first', aud: nodeName, sub: TAKER, iat: nowS, exp: nowS + 60, src: SOURCE, res: COMMIT },
        ...change,
      }),
    refusals() {
      const sum: Record<string, number> = {};
      for (const report of reports)
        if (report.what === 'served')
          for (const [code, count] of Object.entries(report.refused)) sum[code] = (sum[code] ?? 0) + count;
      return sum;
    },
    servedBytes: () => reports.reduce((sum, report) => sum + (report.what === 'served' ? report.bytes : 0), 0),
  };
}

/** A book of peers as an agent of this name has it. */
export async function bookOf(node = TAKER): Promise<PeerBook> {
  const tls = await nodeTls(node);
  const times = { answerTimeoutMs: 5000, stallTimeoutMs: 5000 };
  return new PeerBook({ nodeName: node, tls: () => tls, times, connections: 3 });
}

export const offer = (node: string, port: number, ticket: string, resolved = COMMIT) => ({
  node,
  url: `https://127.0.0.1:${port}`,
  resolved,
  ticket,
  validMs: 60_000,
});

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

/** One question as whoever speaks TLS may ask it; the path goes out as it is. */
export function ask(
  port: number,
  tls: Partial<TlsMaterial>,
  target: string,
  headers: Readonly<Record<string, string>>,
  method = 'GET',
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const request = https.request(
      {
        ...{ host: '127.0.0.1', port, path: target, method, headers, agent: false, ca: tls.caPem },
        ...(tls.certPem === undefined ? {} : { cert: tls.certPem, key: tls.keyPem }),
        checkServerIdentity: () => undefined,
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
        );
      },
    );
    request.on('error', reject);
    request.end();
  });
}
