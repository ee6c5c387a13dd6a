/**
 * A fleet on this machine: one scheduler and one agent as processes of their own, with certificates of a local
 * authority in one folder. `sophia up`, the benchmarks and the end-to-end tests start it, so what they run is the same.
 */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Child, startChild } from './child.ts';
import { createCa, issueCertificate, readPair, writePair } from './local_ca.ts';

export const LOOPBACK = '127.0.0.1';

export interface LocalFleetPlan {
  /** Folder for certificates, configuration, logs, keys and engine state; made when absent. */
  readonly root: string;
  readonly nodeName: string;
  /** Engine specifications for the node, in the spelling of the scheduler's `nodes` setting. */
  readonly engines: readonly object[];
  /** Further agents on this machine, each a node of its own. */
  readonly otherNodes?: readonly { readonly nodeName: string; readonly engines: readonly object[] }[];
  /** Settings over the defaults; ports are 0 (any free one) unless given. */
  readonly scheduler?: Readonly<Record<string, unknown>>;
  readonly agent?: Readonly<Record<string, unknown>>;
  readonly env: NodeJS.ProcessEnv;
  readonly nowMs: number;
  /** Called for each process as it is started, so that a signal can stop a fleet that is half up. */
  readonly onChild?: (child: Child) => void;
}

export interface LocalFleet {
  readonly scheduler: Child;
  readonly agent: Child;
  /** The agents of `otherNodes`, in their order. */
  readonly otherAgents: readonly Child[];
  /** Starts an agent anew after it has ended; a new agent takes over the engines that the old one left. */
  restartAgent(nodeName?: string): Promise<Child>;
  /** Starts the scheduler anew after it has ended, on the same ports. */
  restartScheduler(): Promise<Child>;
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly fleetPort: number;
  /** Holds a key with every role, made by the scheduler at its first start. */
  readonly keyFile: string;
}

interface LocalPorts {
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly fleetPort: number;
}

/** The compiled main of a process of the fleet. */
export function mainOf(name: 'scheduler' | 'agent'): string {
  return fileURLToPath(new URL(`../../${name}/main.js`, import.meta.url));
}

/** Writes a configuration that a person may read to see what runs; JSON is YAML. */
async function writeConfig(root: string, name: string, config: object): Promise<string> {
  const file = path.join(root, `${name}.yaml`);
  await writeFile(file, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
  return file;
}

async function certificates(root: string, nodeNames: readonly string[], nowMs: number) {
  const tls = path.join(root, 'tls');
  await mkdir(tls, { recursive: true, mode: 0o700 });
  const ca = (await readPair(tls, 'ca')) ?? (await createCa('SOPHIA Fleet local authority', nowMs));
  // Fresh certificates with each start: nobody has to think of their expiry on a developer's machine.
  const scheduler = await issueCertificate(ca, { commonName: 'scheduler', hosts: ['localhost', LOOPBACK], nowMs });
  const agents = new Map<string, { readonly certFile: string; readonly keyFile: string }>();
  for (const [index, name] of nodeNames.entries()) {
    const agent = await issueCertificate(ca, { commonName: name, hosts: [], nowMs });
    agents.set(name, await writePair(tls, fileNameOf(index), agent));
  }
  return { ca: await writePair(tls, 'ca', ca), scheduler: await writePair(tls, 'scheduler', scheduler), agents };
}

/** The first agent of a fleet has the plain names, as if it were alone. */
const fileNameOf = (index: number): string => (index === 0 ? 'agent' : `agent-${index}`);

/** The key that signs tickets, made at the first start and kept: a ticket outlives a restart of the scheduler. */
async function ticketKey(file: string): Promise<string> {
  const key = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
  try {
    await writeFile(file, key, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return file;
}

/**
 * Starts the scheduler, waits for its ports, then starts the agent that dials it. Engines come up afterwards.
 * @throws CodedError with the sentence of the process that did not come up
 */
export async function startLocalFleet(plan: LocalFleetPlan): Promise<LocalFleet> {
  const { root } = plan;
  const nodes = [{ nodeName: plan.nodeName, engines: plan.engines }, ...(plan.otherNodes ?? [])];
  await mkdir(path.join(root, 'logs'), { recursive: true, mode: 0o700 });
  const names = nodes.map((node) => node.nodeName);
  const tls = await certificates(root, names, plan.nowMs);
  const keyFile = path.join(root, 'admin.key');
  const start = async (main: 'scheduler' | 'agent', name: string, config: object): Promise<Child> => {
    const file = await writeConfig(root, name, config);
    const child = startChild(name, mainOf(main), ['--config', file], path.join(root, 'logs', `${name}.log`), plan.env);
    plan.onChild?.(child);
    return child;
  };
  const ticketKeyFile = await ticketKey(path.join(root, 'tls', 'ticket.key'));
  const startScheduler = (given: Partial<LocalPorts>): Promise<Child> =>
    start('scheduler', 'scheduler', {
      httpPort: 0,
      grpcPort: 0,
      fleetPort: 0,
      fleetCertFile: tls.scheduler.certFile,
      fleetKeyFile: tls.scheduler.keyFile,
      fleetCaFile: tls.ca.certFile,
      dataDir: path.join(root, 'scheduler'),
      bootstrapKeyFile: keyFile,
      ticketKeyFile,
      stopWithParent: true,
      nodes: Object.fromEntries(nodes.map((node) => [node.nodeName, node.engines])),
      ...plan.scheduler,
      ...given,
    });
  const scheduler = await startScheduler({});
  const { httpPort, grpcPort, fleetPort } = (await scheduler.ready) as unknown as LocalPorts;
  const ports = { httpPort, grpcPort, fleetPort };
  const startAgent = async (nodeName: string): Promise<Child> => {
    const fileName = fileNameOf(names.indexOf(nodeName));
    const agent = await start('agent', fileName, {
      nodeName,
      // A name, not an address: TLS has no server name for an address, and Node warns of it.
      schedulers: [`localhost:${ports.fleetPort}`],
      ...tls.agents.get(nodeName),
      caFile: tls.ca.certFile,
      dataDir: path.join(root, fileName),
      stopWithParent: true,
      // One Ctrl-C leaves no process behind.
      stopEnginesOnExit: true,
      ...plan.agent,
    });
    await agent.ready;
    return agent;
  };
  const [agent, ...otherAgents] = (await Promise.all(names.map(startAgent))) as [Child, ...Child[]];
  return {
    scheduler,
    agent,
    otherAgents,
    restartAgent: (nodeName = plan.nodeName) => startAgent(nodeName),
    async restartScheduler() {
      const next = await startScheduler(ports);
      await next.ready;
      return next;
    },
    keyFile,
    ...ports,
  };
}
