/**
 * `npm run bench -- models`: a model that no host has is ordered on several, and its source is cut while it is fetched. Real
 * agents fetch it, an engine starts on it, and afterwards every byte on every disk is checked by this program itself.
 * Beside it stands a source that gives one wrong byte, always: its model must never reach an engine.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../../lib/io/child.ts';
import { LOOPBACK, startLocalFleet } from '../../lib/io/local_fleet.ts';
import { benchEnvironment } from '../config.ts';
import { round, rssBytes } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { type Admin, connectAdmin } from '../supervised/admin.ts';
import { filesOf, hasWhole } from './files.ts';
import { measurePeers, type PeerFigures } from './peers.ts';
import { REPOSITORY, type SourceFile, type SourceServer, startSource, sumOf } from './source_server.ts';

export interface ModelsOptions {
  readonly json?: true;
  readonly megabytes: number;
  readonly hosts: number;
  readonly cuts: number;
}

export interface ModelsFigures {
  readonly bytes: number;
  readonly hosts: number;
  readonly cuts: number;
  /** Bytes that all agents together received, and those of them that they had received before. */
  readonly bytesFetched: number;
  readonly refetchedBytes: number;
  /** Bytes that the source gave to its sockets; what a reset drops in the buffers of the system counts here only. */
  readonly bytesSent: number;
  /** From the first request at the source until the last host has the model. */
  readonly seconds: number;
  readonly checksumOk: boolean;
  readonly wrongByteRefused: boolean;
  /** Engines that started on the files. */
  readonly ready: number;
  /** Largest memory of an agent that was seen. */
  readonly agentRssMb: number;
  /** Worst p99 of an agent's event loop lag that was seen, milliseconds. */
  readonly loopLagMs: number;
  /** One host brings it from a source that is slow, the next one from that host. */
  readonly peers: PeerFigures;
}

const OUTAGE_MS = 300;
const LIMIT_MS = 240_000;
const STOP_TIMEOUT_MS = 20_000;
const LIE_BYTES = 4_000_000;

/** Cuts the source each time that its share of the bytes has been sent. */
async function cutAsItGoes(source: SourceServer, total: number, cuts: number, isOver: () => boolean): Promise<number> {
  let done = 0;
  while (done < cuts && !isOver()) {
    if (source.sentBytes() >= (total * (done + 1)) / (cuts + 1)) {
      await source.outage(OUTAGE_MS);
      done += 1;
    } else await sleep(5);
  }
  return done;
}

interface Watched {
  readonly ready: boolean;
  agentRssBytes: number;
  loopLagMs: number;
}

/** What the agents say in their logs that they received of the model. */
async function receivedBytes(agents: readonly Child[]): Promise<number> {
  let sum = 0;
  for (const { logFile } of agents) {
    const lines = (await readFile(logFile, 'utf8')).split('\n').filter((line) => line.includes('a model is on disk'));
    for (const line of lines) sum += (JSON.parse(line) as { fetchedBytes: number }).fetchedBytes;
  }
  return sum;
}

/** Waits until the model is on every host and its engines serve. */
async function watch(
  admin: Admin,
  agents: readonly Child[],
  nodes: readonly string[],
  onWhole: () => void,
): Promise<Watched> {
  const endMs = performance.now() + LIMIT_MS;
  const seen = { agentRssBytes: 0, loopLagMs: 0 };
  let isWhole = false;
  while (performance.now() < endMs) {
    const whole = (await admin.modelFiles()).filter(
      ({ reading }) => reading?.source.startsWith('hf://') && reading.state === 'ready',
    );
    if (!isWhole && whole.length === nodes.length) {
      isWhole = true;
      onWhole();
    }
    for (const { pid } of agents) seen.agentRssBytes = Math.max(seen.agentRssBytes, rssBytes(pid));
    for (const node of nodes) {
      // A node is unknown until its agent has said hello.
      const known = await admin.node(node).catch(() => null);
      const lag = known?.telemetry?.agent?.loopLagP99Ms ?? 0;
      seen.loopLagMs = Math.max(seen.loopLagMs, lag);
    }
    const serving = (await admin.engines()).filter(({ event, routable }) => event?.engine === 'big' && routable);
    if (isWhole && serving.length === nodes.length) return { ready: true, ...seen };
    await sleep(20);
  }
  return { ready: false, ...seen };
}

/** True when the engine of the lying source was given up without a process, and nothing of it is on the shelf. */
async function isRefused(admin: Admin, modelsFolder: string): Promise<boolean> {
  const endMs = performance.now() + LIMIT_MS;
  while (performance.now() < endMs) {
    const event = (await admin.engines()).find((engine) => engine.event?.engine === 'lied')?.event;
    if (event?.state === 'ENGINE_STATE_FAILED') {
      const shelves = (await readdir(modelsFolder)).filter((name) => name.includes(LOOPBACK));
      return /wrong bytes/.test(event.message) && event.incarnation === 0 && shelves.length === 0;
    }
    await sleep(50);
  }
  return false;
}

export async function measureModels({ megabytes, hosts, cuts }: ModelsOptions): Promise<Omit<ModelsFigures, 'peers'>> {
  const root = await mkdtemp(path.join(tmpdir(), 'sophia-bench-models-'));
  const files = filesOf(megabytes);
  // The sums take longer than the start of an agent, so they are there before it.
  for (const file of files) sumOf(file);
  const source = await startSource({ files: () => files });
  const lie: SourceFile = { path: 'lie.safetensors', bytes: LIE_BYTES, seed: 77 };
  const liar = await startSource({ files: () => [lie], fault: () => ({ kind: 'wrong', at: LIE_BYTES - 1 }) });
  const nodes = Array.from({ length: hosts }, (_, index) => `host-${index}`);
  const base = { kind: 'sim', extraFlags: ['--sim-unpaced'] };
  const big = {
    ...base,
    name: 'big',
    model: 'big',
    servedModelName: 'big',
    modelSource: { url: `hf://${REPOSITORY}` },
  };
  const modelSource = { url: `${liar.url}/files/${lie.path}`, sha256: { [lie.path]: sumOf(lie) } };
  const lied = { ...base, name: 'lied', model: 'lied', servedModelName: 'lied', modelSource };
  const children: Child[] = [];
  try {
    const fleet = await startLocalFleet({
      root,
      nodeName: nodes[0] as string,
      engines: [big, lied],
      otherNodes: nodes.slice(1).map((nodeName) => ({ nodeName, engines: [big] })),
      env: benchEnvironment(),
      nowMs: Date.now(),
      onChild: (child) => children.push(child),
      scheduler: { logLevel: 'warn' },
      agent: { logLevel: 'info', hubUrl: source.url, telemetryPeriodMs: 200 },
    });
    const key = (await readFile(fleet.keyFile, 'utf8')).trim();
    const admin = connectAdmin(`${LOOPBACK}:${fleet.grpcPort}`, key);
    const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    let wholeAtMs = 0;
    const agents = [fleet.agent, ...fleet.otherAgents];
    const cutting = cutAsItGoes(source, total * hosts, cuts, () => wholeAtMs > 0);
    const watched = await watch(admin, agents, nodes, () => (wholeAtMs = performance.now()));
    const done = await cutting;
    const folders = nodes.map((_, index) => path.join(root, index === 0 ? 'agent' : `agent-${index}`, 'models'));
    const wrongByteRefused = await isRefused(admin, folders[0] as string);
    admin.close();
    let checksumOk = watched.ready;
    for (const folder of folders) if (!(await hasWhole(folder, files))) checksumOk = false;
    const bytesFetched = await receivedBytes(agents);
    return {
      bytes: total,
      hosts,
      cuts: done,
      bytesFetched,
      refetchedBytes: bytesFetched - total * hosts,
      bytesSent: source.sentBytes(),
      seconds: round((wholeAtMs - source.firstRequestAtMs()) / 1000),
      checksumOk,
      wrongByteRefused,
      ready: watched.ready ? hosts : 0,
      agentRssMb: Math.round(watched.agentRssBytes / 2 ** 20),
      loopLagMs: round(watched.loopLagMs),
    };
  } finally {
    for (const child of children) await child.stop(STOP_TIMEOUT_MS);
    await source.close();
    await liar.close();
    if (existsSync(root)) await rm(root, { recursive: true, force: true });
  }
}

export async function runModels(options: ModelsOptions): Promise<void> {
  const figures = { ...(await measureModels(options)), peers: await measurePeers(options) };
  const { bytes, hosts, cuts, bytesFetched, refetchedBytes, seconds, checksumOk, wrongByteRefused } = figures;
  process.stdout.write(
    `a model brought to hosts while its source is cut\n${alignRows([
      [
        'MB',
        'hosts',
        'cuts',
        'MB fetched',
        'MB twice',
        'seconds',
        'checksums',
        'wrong byte refused',
        'agent MB',
        'lag ms',
      ],
      [
        round(bytes / 1e6),
        hosts,
        cuts,
        round(bytesFetched / 1e6),
        round(refetchedBytes / 1e6),
        seconds,
        checksumOk ? 'right' : 'WRONG',
        wrongByteRefused ? 'yes' : 'NO',
        figures.agentRssMb,
        figures.loopLagMs,
      ],
    ])}\n`,
  );
  const { peers } = figures;
  process.stdout.write(
    `the same from another host of the fleet, with a source of ${round(peers.sourceBytesPerSecond / 1e6)} MB/s a connection\n${alignRows(
      [
        ['MB', 'MB from source', 'MB from peers', 'seconds', 'seconds of the first host', 'checksums'],
        [
          round(peers.bytes / 1e6),
          round(peers.sourceBytes / 1e6),
          round(peers.peerBytes / 1e6),
          peers.seconds,
          peers.firstSeconds,
          peers.checksumOk ? 'right' : 'WRONG',
        ],
      ],
    )}\n`,
  );
  if (options.json === true) process.stdout.write(`${JSON.stringify(figures)}\n`);
}
