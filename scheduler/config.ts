/** The settings of a scheduler. */
import { hostname } from 'node:os';
import { z } from 'zod';
import { nodesSchema } from '../lib/io/engine_setting.ts';
import { LOG_FORMATS, LOG_LEVELS } from '../lib/io/logger.ts';
import { RECONCILE_SETTINGS } from '../lib/io/reconcile_settings.ts';
import { type ServiceManagerFacts, serviceManagerFacts } from '../lib/io/service_manager.ts';
import { byteSize, durationMs, flag, integer, list, oneOf, port, text, url } from '../lib/io/setting_types.ts';
import { type ConfigOf, defineSettings } from '../lib/io/settings.ts';
import { STORE_SETTINGS } from '../lib/io/store_settings.ts';
import { USAGE_SETTINGS } from '../lib/io/usage_settings.ts';
import { DIALECTS } from './core/providers/contract.ts';
import { POLICY_NAMES } from './core/routing/policies.ts';

const file = () => text({ maxLength: 4096, allowed: 'a path of 1 to 4096 characters' });

/** What the process inherits is taken from here, so that no other file reads the environment. */
export const processEnvironment = (): Readonly<Record<string, string | undefined>> => process.env;

/** Whether systemd started this process, and how often it wants a sign of life. */
export const serviceManager = (): ServiceManagerFacts => serviceManagerFacts(process.env, process.pid);

const tokenizersSchema = z
  .record(z.string().min(1).max(512), z.string().min(1).max(4096))
  .refine((tokenizers) => Object.keys(tokenizers).length <= 64)
  .describe('for up to 64 model names the path of a folder');

/** A model's name, here and at a provider. */
const modelName = () => z.string().min(1).max(512);
const providerName = () => z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
const price = () => z.number().min(0).max(1_000_000).default(0);

const providerSchema = z.strictObject({
  name: providerName(),
  url: url(),
  dialect: z.enum(DIALECTS).default('openai'),
  apiKeyFile: file().optional(),
  models: z.record(modelName(), modelName()),
  leavesFleet: z.boolean().default(true),
  promptPricePerMillion: price(),
  outputPricePerMillion: price(),
  maxRunningRequests: z.int().min(1).max(100_000).default(64),
  allowDataCollection: z.boolean().default(false),
});

const providersSchema = z
  .array(providerSchema)
  .max(64)
  .describe('a list of up to 64 providers, each with name, url and models (docs/PROVIDERS.md)');

const fallbacksSchema = z
  .record(modelName(), z.array(providerName()).max(16))
  .describe('for each model a list of up to 16 names of providers');

export const settings = defineSettings('scheduler', {
  schedulerId: {
    schema: text({ maxLength: 128 }),
    default: hostname().slice(0, 128) || 'scheduler',
    doc: 'Name of this scheduler for agents and operators.',
  },
  httpHost: { schema: text({ maxLength: 253 }), default: '127.0.0.1', doc: 'Address of the HTTP door.' },
  httpPort: { schema: port(), default: 8080, doc: 'Port of the HTTP door.' },
  grpcHost: {
    schema: text({ maxLength: 253 }),
    default: '127.0.0.1',
    doc: 'Address of the gRPC door for gateways and operators.',
  },
  grpcPort: { schema: port(), default: 8081, doc: 'Port of the gRPC door.' },
  grpcCertFile: {
    schema: file().optional(),
    default: undefined,
    doc: 'Certificate of the gRPC door (PEM); absent: plain text, for loopback or behind something that ends TLS.',
  },
  grpcKeyFile: { schema: file().optional(), default: undefined, doc: 'Private key of the gRPC door (PEM).' },
  fleetHost: { schema: text({ maxLength: 253 }), default: '127.0.0.1', doc: 'Address of the agents’ door.' },
  fleetPort: { schema: port(), default: 8443, doc: 'Port of the agents’ door; mutual TLS always.' },
  fleetCertFile: { schema: file(), doc: 'Certificate of the agents’ door (PEM).' },
  fleetKeyFile: { schema: file(), doc: 'Private key of the agents’ door (PEM).' },
  fleetCaFile: { schema: file(), doc: 'Certificate of the authority that signs agents (PEM).' },
  tlsReloadMs: {
    schema: durationMs({ min: 100, max: 86_400_000 }),
    default: 10_000,
    doc: 'How often the certificate files are looked at; changed ones are used for new connections, without a restart.',
  },
  dataDir: {
    schema: file(),
    default: './sophia-scheduler',
    doc: 'Folder for API keys; private to the user of the process.',
  },
  bootstrapKeyFile: {
    schema: file().optional(),
    default: undefined,
    doc: 'Where a key with every role is written at the first start, when there is no key yet.',
  },
  jwtIssuer: {
    schema: text().optional(),
    default: undefined,
    doc: 'Issuer of accepted JWTs; absent: only API keys are taken.',
  },
  jwtAudience: { schema: list(text(), { max: 16 }), default: [], doc: 'A JWT must name one of these audiences.' },
  jwtJwksFile: { schema: file().optional(), default: undefined, doc: 'File with the key set of the issuer.' },
  jwtJwksUrl: { schema: url().optional(), default: undefined, doc: 'Address of the key set of the issuer.' },
  jwtClockSkewS: { schema: integer({ max: 300 }), default: 30, doc: 'Difference of clocks that is borne, in seconds.' },
  jwtTenantClaim: { schema: text({ maxLength: 128 }), default: 'tenant', doc: 'Claim that names the tenant.' },
  jwtRolesClaim: { schema: text({ maxLength: 128 }), default: 'roles', doc: 'Claim that names the roles.' },
  corsOrigins: { schema: list(text()), default: [], doc: 'Origins whose pages may call from a browser; empty: none.' },
  trustedProxies: { schema: list(text()), default: [], doc: 'Addresses of proxies whose X-Forwarded-For is believed.' },
  maxBodyBytes: {
    schema: byteSize({ min: 1024, max: 256 * 1024 * 1024 }),
    default: 8 * 1024 * 1024,
    doc: 'Largest request body.',
  },
  maxBodyDepth: { schema: integer({ min: 4, max: 512 }), default: 64, doc: 'Deepest nesting of a request body.' },
  allowedEngineFields: {
    schema: list(text({ maxLength: 128 })),
    default: [],
    doc: 'Engine-internal request fields that callers may set.',
  },
  allowRemoteMedia: {
    schema: flag(),
    default: false,
    doc: 'Lets engines fetch media from addresses that callers name.',
  },
  maxConnections: {
    schema: integer({ min: 1, max: 1_000_000 }),
    default: 10_000,
    doc: 'Most HTTP connections at a time.',
  },
  maxRunningRequests: {
    schema: integer({ min: 1, max: 1_000_000 }),
    default: 10_000,
    doc: 'Most requests at a time; more are answered 429.',
  },
  requestTimeoutMs: { schema: durationMs({ min: 100 }), default: 600_000, doc: 'Longest life of a request.' },
  stallTimeoutMs: {
    schema: durationMs({ min: 100 }),
    default: 60_000,
    doc: 'A client that takes nothing for this long is given up.',
  },
  pingPeriodMs: {
    schema: durationMs({ min: 100 }),
    default: 15_000,
    doc: 'An open HTTP stream that is silent this long gets a comment.',
  },
  coalesceMs: {
    schema: durationMs({ max: 1000 }),
    default: 0,
    doc: 'Longest time for which a token after the first waits to leave with the next; 0: none.',
  },
  clientWindowBytes: {
    schema: byteSize({ min: 1024, max: 64 * 1024 * 1024 }),
    default: 64 * 1024,
    doc: 'Bytes that may be on their way to a client that does not read.',
  },
  wsMaxMessageBytes: {
    schema: byteSize({ min: 1024, max: 256 * 1024 * 1024 }),
    default: 8 * 1024 * 1024,
    doc: 'Largest WebSocket message.',
  },
  queueMaxRequests: {
    schema: integer({ max: 100_000 }),
    default: 1024,
    doc: 'Most requests that wait for the engines of one model; 0: none waits, what no engine can take is refused.',
  },
  queueMaxBytes: {
    schema: byteSize({ max: 64 * 1024 ** 3 }),
    default: 256 * 1024 * 1024,
    doc: 'Most bytes of bodies that wait for the engines of one model.',
  },
  queueMaxTotalRequests: {
    schema: integer({ min: 1, max: 1_000_000 }),
    default: 8192,
    doc: 'Most requests that wait, of all models together.',
  },
  queueMaxTotalBytes: {
    schema: byteSize({ min: 1024, max: 256 * 1024 ** 3 }),
    default: 512 * 1024 * 1024,
    doc: 'Most bytes of bodies that wait, of all models together.',
  },
  queueTenantSharePercent: {
    schema: integer({ min: 1, max: 100 }),
    default: 50,
    doc: 'The part of a model’s queue that one tenant may fill, so that another always finds room.',
  },
  queueMaxWaitMs: {
    schema: durationMs({ min: 100 }),
    default: 300_000,
    doc: 'Longest time for which a request waits for an engine, be they all full or still starting.',
  },
  queueSilentMs: {
    schema: durationMs({ max: 600_000 }),
    default: 10_000,
    doc: 'For so long a waiting request is told nothing, so that it can still get an error status; then streams get 200 and comments with their place.',
  },
  queueNoticePeriodMs: {
    schema: durationMs({ min: 20, max: 600_000 }),
    default: 3000,
    doc: 'How often a waiting stream is told its place and the expected time.',
  },
  routingPolicy: {
    schema: oneOf(POLICY_NAMES),
    default: 'cost',
    doc: 'How an engine is picked: by its cost in milliseconds, or by a simpler rule (docs/ROUTING.md).',
  },
  maxPendingPrefillMs: {
    schema: durationMs({ min: 1 }),
    default: 1000,
    doc: 'Most work that may wait for its prefill on an engine; while all engines of a model have more, its requests are held.',
  },
  failoverMigrate: {
    schema: flag(),
    default: true,
    doc: 'Lets an answer that was cut go on at another engine; docs/FAILOVER.md has all cases.',
  },
  failoverMaxAttempts: {
    schema: integer({ min: 1, max: 1000 }),
    default: 9,
    doc: 'Attempts of one request, the first included; one that brought 16 tokens or more begins the count anew.',
  },
  failoverWaitMs: {
    schema: durationMs({ max: 3_600_000 }),
    default: 300_000,
    doc: 'Longest time for which a request whose engine died waits for another one; half a minute while none is on its way.',
  },
  failoverJournalTokens: {
    schema: integer({ max: 100_000_000 }),
    default: 131_072,
    doc: 'Most token ids kept of one answer; a longer one is not continued elsewhere.',
  },
  failoverBurst: {
    schema: integer({ min: 1, max: 1_000_000 }),
    default: 64,
    doc: 'Requests of dead engines that may start anew at once; more come one after another.',
  },
  failoverPerSecond: {
    schema: integer({ min: 1, max: 1_000_000 }),
    default: 50,
    doc: 'How many requests of dead engines start anew per second beyond the burst.',
  },
  failoverReattachMs: {
    schema: durationMs({ max: 600_000 }),
    default: 300,
    doc: 'How long requests of a lost lane wait for it to come back before they go elsewhere.',
  },
  hedgeAfterMs: {
    schema: durationMs({ max: 600_000 }),
    default: 0,
    doc: 'Silence after which a call of one token or none is sent to a second engine as well; the first answer counts; 0: never.',
  },
  ticketKeyFile: {
    schema: file().optional(),
    default: undefined,
    doc: 'Ed25519 key (PKCS #8 PEM, mode 0600) that signs tickets for direct calls; another file in its place changes the key; absent: a key that ends with the process.',
  },
  ticketTtlMs: {
    schema: durationMs({ min: 1000, max: 300_000 }),
    default: 30_000,
    doc: 'Time for which a ticket of Route opens the door of an agent.',
  },
  ticketSkewMs: {
    schema: durationMs({ max: 60_000 }),
    default: 5000,
    doc: 'Difference of clocks to agents that is borne before the place of an unused ticket is given to others.',
  },
  directLeaseMs: {
    schema: durationMs({ min: 500, max: 600_000 }),
    default: 15_000,
    doc: 'A direct request of which its agent says nothing for this long no longer counts as load.',
  },
  repeatGraceMs: {
    schema: durationMs({ max: 3_600_000 }),
    default: 10_000,
    doc: 'How long the answer to a request with an idempotency key runs on when its client is gone.',
  },
  repeatKeepMs: {
    schema: durationMs({ max: 3_600_000 }),
    default: 300_000,
    doc: 'How long an ended answer is kept for its idempotency key.',
  },
  repeatMaxAnswers: {
    schema: integer({ min: 1, max: 1_000_000 }),
    default: 4096,
    doc: 'Most answers that are kept for their idempotency keys.',
  },
  repeatMaxAnswerBytes: {
    schema: byteSize({ min: 1024 }),
    default: 4 * 1024 * 1024,
    doc: 'Most bytes of one answer that are kept for its idempotency key; a longer one waits for its reader.',
  },
  repeatMaxBytes: {
    schema: byteSize({ min: 1024 }),
    default: 128 * 1024 * 1024,
    doc: 'Most bytes of all answers that are kept for their idempotency keys.',
  },
  repeatSettleMs: {
    schema: durationMs({ max: 600_000 }),
    default: 3000,
    doc: 'After a start, how long a request with an idempotency key waits for agents to tell that it runs there.',
  },
  prefixIndexBytes: {
    schema: byteSize({ min: 1024 * 1024, max: 4 * 1024 * 1024 * 1024 }),
    default: 32 * 1024 * 1024,
    doc: 'Memory for knowing which engines hold which prompt prefixes; 32 MiB are 1.7 million blocks of 16 tokens.',
  },
  tokenizers: {
    schema: tokenizersSchema,
    default: {},
    doc: 'For each model the folder of its tokenizer.json, tokenizer_config.json and chat template, so that its prompts are known by tokens; those of other models are known by bytes.',
    fileOnly: true,
  },
  tokenizeThreads: { schema: integer({ min: 1, max: 64 }), default: 1, doc: 'Threads that tokenise prompts.' },
  tokenizeWaitMs: {
    schema: durationMs({ min: 1, max: 1000 }),
    default: 5,
    doc: 'Longest wait of a request of up to 32 KiB for its tokens, longer in proportion for larger ones; then its bytes are taken.',
  },
  metricsDetailNodes: {
    schema: integer({ max: 200 }),
    default: 32,
    doc: 'Nodes whose readings /metrics shows one by one, in the order of their names; the others are in the sums. Each costs some 300 series.',
  },
  telemetryPeriodMs: {
    schema: durationMs({ min: 100, max: 60_000 }),
    default: 1000,
    doc: 'How often agents send their readings.',
  },
  keepaliveMs: {
    schema: durationMs({ min: 1000, max: 600_000 }),
    default: 10_000,
    doc: 'Period of the pings to agents and gateways.',
  },
  keepaliveTimeoutMs: {
    schema: durationMs({ min: 100, max: 600_000 }),
    default: 5000,
    doc: 'Time for the answer to a ping.',
  },
  drainTimeoutMs: { schema: durationMs(), default: 30_000, doc: 'Time that running requests have after SIGTERM.' },
  providers: {
    schema: providersSchema,
    default: [],
    doc: 'OpenAI-compatible services that answer where the fleet cannot: other pools, and services of others (docs/PROVIDERS.md).',
    fileOnly: true,
  },
  fallbacks: {
    schema: fallbacksSchema,
    default: {},
    doc: 'The providers that stand behind each model, in the order in which they are tried.',
    fileOnly: true,
  },
  leaveFleetTenants: {
    schema: list(text({ maxLength: 128 }), { max: 10_000 }),
    default: [],
    doc: 'Tenants whose prompts may go to providers outside of the fleet; empty: nobody’s.',
  },
  providerConnectTimeoutMs: {
    schema: durationMs({ min: 10, max: 600_000 }),
    default: 5000,
    doc: 'Longest time for the connection to a provider.',
  },
  providerIdleTimeoutMs: {
    schema: durationMs({ min: 10, max: 3_600_000 }),
    default: 60_000,
    doc: 'A provider that says nothing for this long is given up, before its answer and in it.',
  },
  ...RECONCILE_SETTINGS,
  nodes: { schema: nodesSchema, default: {}, doc: 'The engines that each node is to run.', fileOnly: true },
  ...STORE_SETTINGS,
  ...USAGE_SETTINGS,
  logLevel: { schema: oneOf(LOG_LEVELS), default: 'info', doc: 'Least level that is logged.' },
  logFormat: { schema: oneOf(LOG_FORMATS), default: 'json', doc: 'Form of the log.' },
  stopWithParent: { schema: flag(), default: false, doc: 'Stops when the process that started this one goes away.' },
});

export type SchedulerConfig = ConfigOf<NonNullable<(typeof settings)['table']>>;
