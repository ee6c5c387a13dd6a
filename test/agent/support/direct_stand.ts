/** The thread that takes direct calls, run in the test's own thread, before an engine that the test plays. */
import { generateKeyPairSync } from 'node:crypto';
import { MessageChannel } from 'node:worker_threads';
import { type CryptoKey, importPKCS8 } from 'jose';
import { openListBytes } from '../../../agent/core/open_requests.ts';
import type { DirectReport, DirectSettings, FromRelay, ToRelay } from '../../../agent/workers/relay_messages.ts';
import { runRelay } from '../../../agent/workers/relay_worker.ts';
import type { TicketClaims } from '../../../lib/ticket.ts';
import type { DirectLease } from '../../../proto/gen/fleet/v1/DirectLease.ts';
import { signTicket, ticketKeyId } from '../../../proto/ticket_jws.ts';
import { makeCertificates, removeFolder, until } from '../../support/fake_scheduler.ts';
import { type RawEngine, type RawExchange, startRawEngine } from './raw_engine.ts';
import { relaySettings } from './relay_stand.ts';

export const DIRECT_INCARNATION = 7;
export const MAX_BODY_BYTES = 64 * 1024;

export interface DirectStand {
  readonly engine: RawEngine;
  /** Of the completions route. */
  readonly url: string;
  readonly port: number;
  ticket(change?: Partial<TicketClaims>): Promise<string>;
  tell(message: ToRelay): void;
  reports(): readonly DirectReport[];
  /** What was said of the leases, in order. */
  leases(): readonly DirectLease[];
  refusals(): Readonly<Record<string, number>>;
  exchange(at: number): Promise<RawExchange>;
  stop(): Promise<void>;
}

async function makeKey(): Promise<{ keyId: string; publicKey: Uint8Array; privateKey: CryptoKey }> {
  const pair = generateKeyPairSync('ed25519');
  const publicKey = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
  const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  return { keyId: await ticketKeyId(publicKey), publicKey, privateKey: await importPKCS8(pem, 'EdDSA') };
}

export async function startDirectStand(
  owner: { teardown(work: () => Promise<void>): unknown },
  change: Partial<DirectSettings> & { readonly leaseMs?: number } = {},
  answer?: (exchange: RawExchange) => void,
): Promise<DirectStand> {
  const { leaseMs = 15_000, ...settings } = change;
  const certificates = await makeCertificates('node-r');
  const engine = await startRawEngine(answer);
  const { port1: main, port2: port } = new MessageChannel();
  const reports: DirectReport[] = [];
  main.on('message', (message: FromRelay) => void (message.kind === 'direct' && reports.push(message.report)));
  const tell = (message: ToRelay): void => main.postMessage(message);
  const relay = relaySettings(certificates);
  const direct: DirectSettings = {
    ...{ host: '127.0.0.1', port: 0, clockSkewMs: 1000, maxConnections: 64, maxUsedTickets: 1000 },
    ...{ windowBytes: 16 * 1024, pingPeriodMs: 15_000, stallTimeoutMs: 60_000, ...settings },
  };
  const openList = new SharedArrayBuffer(openListBytes(relay.maxRequests));
  const running = runRelay({ worker: 0, port, settings: relay, openList, direct });
  const address = { kind: 'unix', path: engine.path } as const;
  tell({ kind: 'targets', targets: [{ engine: 'raw', incarnation: DIRECT_INCARNATION, address }] });
  const { privateKey, ...key } = await makeKey();
  const bounds = { maxBodyBytes: MAX_BODY_BYTES, maxBodyDepth: 32, allowedEngineFields: [], allowRemoteMedia: false };
  tell({ kind: 'issuers', issuers: [{ scheduler: 's:1', issuer: 'sched', keys: [key], leaseMs, ...bounds }] });
  await until(() => reports.some(({ what }) => what === 'keys'), 'the keys to be known');
  await until(() => reports.some(({ what }) => what === 'open'), 'the listener');
  const opened = reports.find((report) => report.what === 'open') as DirectReport & { what: 'open' };
  let stopped: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    tell({ kind: 'stop', graceMs: 0 });
    await running;
    main.close();
    engine.close();
    await removeFolder(certificates.folder);
  };
  const stop = (): Promise<void> => (stopped ??= end());
  owner.teardown(stop);
  let tickets = 0;
  return {
    engine,
    url: `http://127.0.0.1:${opened.port}/v1/completions`,
    port: opened.port,
    tell,
    reports: () => reports,
    leases: () => reports.flatMap((report) => (report.what === 'leases' ? report.leases : [])),
    refusals() {
      const sum: Record<string, number> = {};
      for (const report of reports)
        if (report.what === 'refused')
          for (const [code, count] of Object.entries(report.counts)) sum[code] = (sum[code] ?? 0) + count;
      return sum;
    },
    ticket(more = {}) {
      const iat = Math.floor(Date.now() / 1000);
      const jti = `tkt_${++tickets}`;
      return signTicket(privateKey, key.keyId, {
        ...{ iss: 'sched', aud: 'node-r', jti, iat, exp: iat + 30, lis: opened.life, eng: 'raw' },
        ...{ inc: DIRECT_INCARNATION, mdl: 'm', end: 'completions', ten: 'acme', rid: `req_${tickets}`, lim: 60_000 },
        ...more,
      });
    },
    async exchange(at) {
      await until(() => engine.exchanges.length > at, 'the engine to have the request');
      return engine.exchanges[at] as RawExchange;
    },
    stop,
  };
}
