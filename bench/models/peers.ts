/**
 * The part of `npm run bench -- models` about hosts that give to each other: one host has the model, another one needs it, and
 * the source is slower than a host beside it, as a hub is. What the source gave is counted by the source itself.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../../lib/io/child.ts';
import { LOOPBACK, startLocalFleet } from '../../lib/io/local_fleet.ts';
import { benchEnvironment } from '../config.ts';
import { round } from '../process_stats.ts';
import { type Admin, connectAdmin } from '../supervised/admin.ts';
import { filesOf, hasWhole } from './files.ts';
import { REPOSITORY, type SourceServer, startSource, sumOf } from './source_server.ts';

export interface PeerFigures {
  readonly bytes: number;
  /** Of the second host: what the source gave for it, and what came from the first host. */
  readonly sourceBytes: number;
  readonly peerBytes: number;
  /** From when it began to be brought until it is whole; and the same of the first host, which had the source alone. */
  readonly seconds: number;
  readonly firstSeconds: number;
  /** How fast the source gives, to each connection. */
  readonly sourceBytesPerSecond: number;
  readonly checksumOk: boolean;
}

const NODES = ['host-0', 'host-1'] as const;
/** What the source gives to a connection each 10 ms. */
const STEP_BYTES = 160_000;
const STEPS_PER_SECOND = 100;
const LIMIT_MS = 240_000;
const STOP_TIMEOUT_MS = 20_000;

interface Fleet {
  readonly admin: Admin;
  readonly url: string;
  readonly key: string;
}

/** Orders the model on a node. @throws Error with what the door said when it refuses */
async function order({ url, key }: Fleet, node: string): Promise<void> {
  const spec = {
    ...{ node, engine: 'sim', model: 'big', servedModelName: 'big', gpusPerHost: 0 },
    ...{ extraFlags: ['--sim-unpaced'], source: { url: `hf://${REPOSITORY}` } },
  };
  const resource = { apiVersion: 'sophia/v1', kind: 'Engine', metadata: { name: `on-${node}` }, spec };
  const answer = await fetch(`${url}/admin/v1/apply`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ resources: [resource] }),
  });
  if (!answer.ok) throw new Error(`${node}: ${answer.status} ${await answer.text()}`);
}

/**
 * Orders the model on a node and waits until it is whole there. The time counts from when its agent tells of it, within a
 * telemetry period: the first order of a fleet makes a database, which is no part of a fetch.
 */
async function bring(fleet: Fleet, node: string) {
  const endMs = performance.now() + LIMIT_MS;
  let startMs: number | undefined;
  await order(fleet, node);
  while (performance.now() < endMs) {
    const reading =
      (await fleet.admin.modelFiles()).find(
        (each) => each.node === node && each.reading?.source.startsWith('hf:') === true,
      )?.reading ?? undefined;
    if (reading !== undefined) startMs ??= performance.now();
    if (startMs !== undefined && reading?.state === 'ready')
      return { reading, seconds: round((performance.now() - startMs) / 1000) };
    await sleep(20);
  }
  throw new Error(`${node} did not get the model within ${LIMIT_MS / 1000} s.`);
}

async function measure(root: string, source: SourceServer, megabytes: number, children: Child[]): Promise<PeerFigures> {
  const files = filesOf(megabytes);
  const local = await startLocalFleet({
    root,
    nodeName: NODES[0],
    engines: [],
    otherNodes: [{ nodeName: NODES[1], engines: [] }],
    env: benchEnvironment(),
    nowMs: Date.now(),
    onChild: (child) => children.push(child),
    scheduler: { logLevel: 'warn' },
    agent: { logLevel: 'warn', hubUrl: source.url, telemetryPeriodMs: 200, gpuReader: 'none', modelsServePort: 0 },
  });
  const key = (await readFile(local.keyFile, 'utf8')).trim();
  const admin = connectAdmin(`${LOOPBACK}:${local.grpcPort}`, key);
  const fleet = { admin, url: `http://${LOOPBACK}:${local.httpPort}`, key };
  try {
    const first = await bring(fleet, NODES[0]);
    const sentBytes = source.sentBytes();
    const second = await bring(fleet, NODES[1]);
    const folders = ['agent', 'agent-1'].map((name) => path.join(root, name, 'models'));
    let checksumOk = true;
    for (const folder of folders) if (!(await hasWhole(folder, files))) checksumOk = false;
    return {
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      sourceBytes: source.sentBytes() - sentBytes,
      peerBytes: second.reading.peerBytes ?? 0,
      seconds: second.seconds,
      firstSeconds: first.seconds,
      sourceBytesPerSecond: STEP_BYTES * STEPS_PER_SECOND,
      checksumOk,
    };
  } finally {
    admin.close();
  }
}

export async function measurePeers({ megabytes }: { readonly megabytes: number }): Promise<PeerFigures> {
  const root = await mkdtemp(path.join(tmpdir(), 'sophia-bench-peers-'));
  const files = filesOf(megabytes);
  for (const file of files) sumOf(file);
  const source = await startSource({ files: () => files, fault: () => ({ kind: 'slow', bytes: STEP_BYTES }) });
  const children: Child[] = [];
  try {
    return await measure(root, source, megabytes, children);
  } finally {
    for (const child of children) await child.stop(STOP_TIMEOUT_MS);
    await source.close();
    await rm(root, { recursive: true, force: true });
  }
}
