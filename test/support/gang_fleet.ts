/**
 * A fleet of several local agents with one deployment over all of them, for tests of gangs: it is declared, asked and ended
 * through the doors that a user has, and its processes are harmed from outside.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import { pidsNaming } from './processes.ts';
import { until } from './waits.ts';
import { startFleet, type TestFleet, type TestFleetOptions } from './fleet.ts';

interface Owner {
  teardown(task: () => unknown): void;
  comment(text: string): void;
}

export interface GangMember {
  readonly node: string;
  readonly pid: number;
  readonly state: string;
  readonly routable: boolean;
  readonly whyNot: string;
  readonly isLeader: boolean;
  readonly message: string;
}

export interface GangFleet {
  readonly fleet: TestFleet;
  readonly hosts: readonly string[];
  declare(spec: object): Promise<void>;
  undeclare(): Promise<void>;
  apply(kind: string, name: string, spec: object, labels?: object): Promise<void>;
  /** What the doors say of it if it were declared so, and of why it is where it is, as text. */
  plan(spec: object): Promise<unknown>;
  explain(): Promise<string>;
  /** Members that have a process, the leader first. */
  members(): Promise<GangMember[]>;
  /** Waits until all members are ready, none of them among `before`. */
  whole(before?: readonly GangMember[]): Promise<GangMember[]>;
  /** What is told of actions and of the deployment's places, oldest first. */
  told(): Promise<string[]>;
  /** One answer of the model, or the code of what came instead. */
  ask(maxTokens?: number): Promise<string>;
}

export interface GangFleetOptions extends Pick<TestFleetOptions, 'agent' | 'env'> {
  readonly hosts: number;
  readonly model: string;
  readonly limitMs: number;
  readonly scheduler?: Readonly<Record<string, unknown>>;
}

const NAME = 'wide';
const STOP_MS = 60_000;
const ASK_LIMIT_MS = 120_000;

interface Told {
  readonly seq: number;
  readonly kind: string;
  readonly reason: string;
  readonly resource: { readonly name: string };
}

export async function startGangFleet(owner: Owner, options: GangFleetOptions): Promise<GangFleet> {
  const others = Array.from({ length: options.hosts - 1 }, (_, at) => [`host-${at + 2}`, []] as const);
  const fleet = await startFleet(owner, {
    engines: [],
    otherNodes: Object.fromEntries(others),
    awaitRoutable: 0,
    agent: { gangAddress: '127.0.0.1', gpuReader: 'none', ...options.agent },
    scheduler: { storePollMs: 50, engineFailedMs: 500, ...options.scheduler },
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  owner.teardown(async () => {
    await fleet.scheduler.stop(STOP_MS);
    // The process of the embedded store ends a while after its last client.
    await until(
      () => pidsNaming(path.join(fleet.root, 'scheduler', 'store')).length === 0,
      'the end of the store',
      STOP_MS,
    );
  });
  const http = async (path: string, method: string, body?: object): Promise<Response> =>
    fetch(`${fleet.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(ASK_LIMIT_MS),
    });
  const sent = async (path: string, method: string, body?: object): Promise<string> => {
    const response = await http(path, method, body);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text;
  };
  const members = async (): Promise<GangMember[]> => {
    const { engines } = await fleet.admin<{ engines: Engine__Output[] }>('ListEngines');
    return engines
      .filter(({ event }) => event?.pid !== undefined && event.state !== 'ENGINE_STATE_STOPPED')
      .map(({ node, event, routable, notRoutableReason }) => ({
        node,
        pid: event?.pid as number,
        state: (event?.state ?? '').replace('ENGINE_STATE_', '').toLowerCase(),
        routable,
        whyNot: notRoutableReason,
        isLeader: !notRoutableReason.includes('gang_member'),
        message: event?.message ?? '',
      }))
      .sort((left, right) => Number(right.isLeader) - Number(left.isLeader));
  };
  const told = async (): Promise<string[]> => {
    const { events } = JSON.parse(await sent('/admin/v1/events?limit=500', 'GET')) as { events: Told[] };
    return events
      .toSorted((left, right) => left.seq - right.seq)
      .filter(({ kind }) => kind.startsWith('placement.') || kind === 'action.taken')
      .map(({ kind, resource, reason }) => `${kind} ${resource.name}: ${reason}`);
  };
  const resource = (kind: string, name: string, spec: object, labels: object = {}): object => ({
    apiVersion: 'sophia/v1',
    kind,
    metadata: { name, labels },
    spec,
  });
  const apply: GangFleet['apply'] = async (...parts) => {
    await sent('/admin/v1/apply', 'POST', { resources: [resource(...parts)] });
  };
  return {
    fleet,
    hosts: ['test-node', ...others.map(([name]) => name)],
    apply,
    declare: (spec) => apply('Deployment', NAME, spec),
    plan: async (spec) =>
      JSON.parse(await sent('/admin/v1/plan', 'POST', { resources: [resource('Deployment', NAME, spec)] })),
    explain: () => sent(`/admin/v1/explain/deployment/${NAME}`, 'GET'),
    async undeclare() {
      await sent('/admin/v1/delete', 'POST', { resources: [{ kind: 'Deployment', name: NAME }] });
    },
    members,
    async whole(before = []) {
      const old = new Set(before.map(({ pid }) => pid));
      const endMs = performance.now() + options.limitMs;
      for (;;) {
        const now = await members();
        const isNew = now.length === options.hosts && now.every(({ pid, state }) => !old.has(pid) && state === 'ready');
        if (isNew && now[0]?.routable === true) return now;
        if (performance.now() > endMs) {
          owner.comment((await told()).join('\n'));
          const text = now.map(({ node, state, whyNot, message }) => `${node} ${state} ${whyNot} ${message}`);
          throw new Error(`the gang is not whole within ${options.limitMs} ms: ${text.join('; ')}`);
        }
        await sleep(100);
      }
    },
    told,
    async ask(maxTokens = 8) {
      const body = { model: options.model, prompt: 'The capital of France is', max_tokens: maxTokens, temperature: 0 };
      const response = await http('/v1/completions', 'POST', body);
      const answer = (await response.json()) as {
        readonly choices?: readonly { readonly text: string }[];
        readonly error?: { readonly code: string };
      };
      return answer.choices?.[0]?.text ?? `(${answer.error?.code ?? response.status})`;
    },
  };
}
