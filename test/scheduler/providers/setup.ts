/** A fleet that the test plays, with providers on loopback behind it. */
import { CodedError } from '../../../lib/errors.ts';
import type { TenantId } from '../../../lib/ids.ts';
import { createMetrics } from '../../../lib/io/metrics.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { createFallbackGenerator } from '../../../scheduler/adapters/providers/fallback_generator.ts';
import { createProviderFigures, showProviders } from '../../../scheduler/adapters/providers/figures.ts';
import { openAgent } from '../../../scheduler/adapters/providers/provider_call.ts';
import { createProviderBook } from '../../../scheduler/core/providers/book.ts';
import type { ProviderSpec } from '../../../scheduler/core/providers/contract.ts';
import { createPlanner } from '../../../scheduler/core/providers/plan.ts';
import { createTurnNotes } from '../../../scheduler/core/providers/turns.ts';
import { createRequestLog } from '../../../scheduler/core/routing/request_log.ts';
import type { ProviderUsage } from '../../../scheduler/core/usage/meter.ts';
import type { AdmittedRequest, Generation, GenerationSink, Generator } from '../../../scheduler/ports.ts';
import { eventually } from '../../support/child.ts';
import { events, type ProviderServer, type Script, startProvider, streaming } from '../../support/provider_server.ts';
import { recordingDoor, request } from '../fakes.ts';

export const KEY = 'sk-canary-0123456789';
export const OPEN = 'open' as TenantId;

/** A fleet that the test plays. */
export interface FakeFleet extends Generator {
  refuse: CodedError | undefined;
  readonly started: { readonly sink: GenerationSink; granted: number; cancelled: string | undefined }[];
}

export function fakeFleet(refuse?: CodedError): FakeFleet {
  const fleet: FakeFleet = {
    refuse,
    started: [],
    start(asked, sink): Generation {
      if (fleet.refuse !== undefined) throw fleet.refuse;
      const run: FakeFleet['started'][number] = { sink, granted: 0, cancelled: undefined };
      fleet.started.push(run);
      return {
        id: asked.id,
        grant: (bytes) => void (run.granted += bytes),
        cancel: (reason) => void (run.cancelled = reason),
      };
    },
    cancel: () => false,
  };
  return fleet;
}

export interface Setup {
  readonly scripts?: readonly Script[][];
  readonly specs?: readonly Partial<ProviderSpec>[];
  readonly fleet?: FakeFleet;
  readonly idleTimeoutMs?: number;
  readonly mode?: string;
  readonly usage?: ProviderUsage;
}

export const NO_ENGINE = new CodedError('no_engine', 'No engine.');

export async function setUp(owner: { teardown(task: () => Promise<void>): void }, setup: Setup = {}) {
  const { scripts = [[streaming(events.openai)]], specs = [], idleTimeoutMs = 5000 } = setup;
  const servers: ProviderServer[] = [];
  for (const list of scripts) servers.push(await startProvider(...list));
  const providers = servers.map(
    (_server, at): ProviderSpec => ({
      name: `p${at}`,
      dialect: 'openai',
      leavesFleet: true,
      models: { m: 'far/model' },
      promptPricePerMillion: 1,
      outputPricePerMillion: 4,
      maxRunningRequests: 8,
      allowDataCollection: false,
      ...specs[at],
    }),
  );
  const fleet = setup.fleet ?? fakeFleet(NO_ENGINE);
  const metrics = createMetrics({ processMetrics: false });
  const book = createProviderBook(providers);
  const lines: unknown[] = [];
  const log = createRequestLog({ maxRequests: 100, maxVerdicts: 100 });
  showProviders(metrics, book);
  const agents = servers.map(({ url }) => openAgent(new URL(url), 8));
  const generator = createFallbackGenerator({
    inner: fleet,
    planner: createPlanner({
      providers,
      fallbacks: { m: providers.map(({ name }) => name) },
      leaveFleetTenants: [OPEN],
    }),
    clock: systemClock,
    logger: { info: (...line: unknown[]) => void lines.push(line) } as never,
    book,
    figures: createProviderFigures(metrics, providers),
    turns: createTurnNotes(log, () => 0),
    requestTimeoutMs: 20_000,
    addressOf: (spec) => {
      const at = providers.indexOf(spec);
      return {
        url: new URL(servers[at]?.url ?? ''),
        apiKey: KEY,
        agent: agents[at] as ReturnType<typeof openAgent>,
        connectTimeoutMs: 5000,
        idleTimeoutMs,
      };
    },
    modeOf: () => setup.mode,
    ...(setup.usage === undefined ? {} : { usage: setup.usage }),
  });
  owner.teardown(async () => {
    for (const agent of agents) agent.destroy();
    await Promise.all(servers.map((server) => server.close()));
  });
  const metric = async (name: string): Promise<string> =>
    (await metrics.render())
      .split('\n')
      .filter((line) => line.startsWith(name))
      .join('\n');
  return { generator, servers, fleet, book, metric, lines, log, state: () => book.views()[0]?.breaker.state };
}

export function door() {
  const base = recordingDoor();
  return Object.assign(base, { onDegraded: (mode: string) => void base.calls.push(`degraded:${mode}`) });
}

export const ask = (change: Partial<AdmittedRequest> = {}): AdmittedRequest =>
  request({
    tenant: OPEN,
    body: Buffer.from('{"model":"m","messages":[],"stream":true,"return_token_ids":true}'),
    ...change,
  });

export const over = (sink: ReturnType<typeof door>): Promise<void> =>
  eventually('the answer is over', () => /^(done|error)/.test(sink.calls.at(-1) ?? ''));

export const textOf = (calls: readonly string[]): string =>
  calls
    .filter((call) => call.startsWith('tokens:'))
    .flatMap((call) => call.slice('tokens:'.length).split('\n\n'))
    .filter((event) => event !== '')
    .map((event) => JSON.parse(event.slice('data: '.length)) as { choices: { delta: { content?: string } }[] })
    .flatMap(({ choices }) => choices.map(({ delta }) => delta.content ?? ''))
    .join('');
