/**
 * The foreign routers that ours is compared with: how each is told of the engines, at the settings with which it did best
 * under faults (health checks each second, breakers that close again soon, retries on another engine). A router's own
 * defaults are worse there: a breaker that stays open for a minute outlasts every fault of the run.
 */

/** What a router is started with. */
export interface Launch {
  readonly args: readonly string[];
  /** Configuration files to be written before, by their name in the router's folder. */
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

export interface LaunchPlace {
  readonly port: number;
  /** A port for what it exports beside. */
  readonly metricsPort: number;
  readonly folder: string;
  readonly enginePorts: readonly number[];
  readonly model: string;
}

export interface RouterKind {
  /** What setup.sh calls its package. */
  readonly setup: string;
  readonly launch: (place: LaunchPlace) => Launch;
  /** How it chooses, for the table. */
  readonly policy: string;
  /** Loads with more streams are left out: they saturate it many times over, and would measure its queue. */
  readonly mostStreams?: number;
}

const HOST = '127.0.0.1';
const urls = ({ enginePorts }: LaunchPlace): string[] => enginePorts.map((port) => `http://${HOST}:${port}`);

function nginx(place: LaunchPlace): Launch {
  const { folder, port, enginePorts } = place;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `  ${kind}_temp_path ${folder}/${kind};`,
  );
  const config = `daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${folder}/nginx.pid;
error_log stderr error;
events { worker_connections 16000; }
http {
${temporary.join('\n')}
  access_log off;
  client_max_body_size 64m;
  upstream engines {
${enginePorts.map((engine) => `    server ${HOST}:${engine} max_fails=1 fail_timeout=1s;`).join('\n')}
    keepalive 512;
  }
  server {
    listen ${HOST}:${port} backlog=4096;
    location / {
      proxy_pass http://engines;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_connect_timeout 1s;
      proxy_read_timeout 600s;
      proxy_next_upstream error timeout http_502 http_503 non_idempotent;
    }
  }
}
`;
  const logged = `${folder}/start.log`;
  return { args: ['-p', folder, '-c', `${folder}/nginx.conf`, '-e', logged], files: { 'nginx.conf': config } };
}

/** Flags that smg and vllm-router, which have a common ancestor, both know. */
function sharedFlags(place: LaunchPlace, policy: string): string[] {
  const { port, metricsPort } = place;
  const flags = {
    '--host': HOST,
    '--port': port,
    '--policy': policy,
    '--prometheus-host': HOST,
    '--prometheus-port': metricsPort,
    '--request-timeout-secs': 600,
    '--max-concurrent-requests': 8192,
    '--health-check-interval-secs': 1,
    '--health-check-timeout-secs': 1,
    '--health-failure-threshold': 1,
    '--health-success-threshold': 1,
    '--cb-failure-threshold': 3,
    '--cb-success-threshold': 1,
    '--cb-timeout-duration-secs': 1,
    '--retry-max-retries': 5,
    '--retry-initial-backoff-ms': 20,
    '--retry-max-backoff-ms': 500,
  };
  return [...Object.entries(flags).flatMap(([flag, value]) => [flag, String(value)]), '--worker-urls', ...urls(place)];
}

/** The tokeniser is not fetched: it lies on a public hub, and routing by text does not need it. */
const smg =
  (policy: string) =>
  (place: LaunchPlace): Launch => ({
    args: [
      'launch',
      ...sharedFlags(place, policy),
      '--log-level',
      'error',
      '--backend',
      'vllm',
      '--disable-tokenizer-autoload',
    ],
  });

const vllmRouter =
  (policy: string) =>
  (place: LaunchPlace): Launch => ({
    args: [...sharedFlags(place, policy), '--log-level', 'error'],
  });

function litellm(place: LaunchPlace): Launch {
  const config = {
    model_list: urls(place).map((url) => ({
      model_name: place.model,
      litellm_params: { model: `hosted_vllm/${place.model}`, api_base: `${url}/v1`, api_key: 'none' },
    })),
    router_settings: { routing_strategy: 'simple-shuffle', num_retries: 3, allowed_fails: 1, cooldown_time: 1 },
    litellm_settings: { telemetry: false, request_timeout: 600, stream_timeout: 4 },
  };
  return {
    args: ['--config', `${place.folder}/litellm.json`, '--host', HOST, '--port', String(place.port)],
    // JSON is YAML.
    files: { 'litellm.json': JSON.stringify(config) },
    // Its table of prices lies in the package; else it is fetched at each start.
    env: {
      LITELLM_LOCAL_MODEL_COST_MAP: 'True',
      LITELLM_LOG: 'ERROR',
      // As the others here, it asks for no key; it listens to this machine alone.
      LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY: 'true',
    },
  };
}

export const ROUTERS: Readonly<Record<string, RouterKind>> = {
  nginx: { setup: 'nginx', policy: 'round robin', launch: nginx },
  smg: { setup: 'smg', policy: 'round robin', launch: smg('round_robin') },
  'smg-cache-aware': { setup: 'smg', policy: 'cache aware', launch: smg('cache_aware') },
  'vllm-router': { setup: 'vllm-router', policy: 'round robin', launch: vllmRouter('round_robin') },
  'vllm-router-cache-aware': { setup: 'vllm-router', policy: 'cache aware', launch: vllmRouter('cache_aware') },
  litellm: { setup: 'litellm', policy: 'simple shuffle', launch: litellm, mostStreams: 64 },
};

export const DEFAULT_ROUTERS: readonly string[] = ['nginx', 'smg', 'vllm-router', 'litellm'];
