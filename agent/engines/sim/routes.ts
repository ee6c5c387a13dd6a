/**
 * The simulated engine's routes beside the common surface: vLLM's development routes (sleep, wake, prefix cache) and
 * the simulator's own doors under /sim.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { readJson, sendJson } from '../surface/http_io.ts';
import type { SimConfig } from './config.ts';
import type { CoreClient } from './core_client.ts';
import type { Faults } from './faults.ts';
import type { KvLog } from './kv_log.ts';

const MAX_FAULT_BYTES = 64 * 1024;

export interface SimRouteOptions {
  readonly config: SimConfig;
  readonly core: CoreClient;
  readonly faults: Faults;
  readonly kvLog: KvLog;
}

/** The `route` hook of the surface. */
export function createSimRoutes(
  options: SimRouteOptions,
): (req: IncomingMessage, res: ServerResponse, url: URL) => Promise<boolean> {
  const { config, core, faults, kvLog } = options;
  return async (req, res, url) => {
    const key = `${req.method} ${url.pathname}`;
    switch (key) {
      case 'GET /sim/kv_events':
        kvLog.serve(res, Number(url.searchParams.get('from') ?? 0) || 0, url.searchParams.get('follow') === '1');
        return true;
      case 'GET /sim/faults':
        sendJson(res, 200, JSON.stringify({ faults: faults.list() }));
        return true;
      case 'POST /sim/faults':
        sendJson(res, 200, JSON.stringify(faults.add(await readJson(req, MAX_FAULT_BYTES))));
        return true;
      case 'DELETE /sim/faults':
        faults.clear();
        sendJson(res, 200, '{"faults":[]}');
        return true;
    }
    return config.devMode ? devRoute(core, key, url, res) : false;
  };
}

function devRoute(core: CoreClient, key: string, url: URL, res: ServerResponse): boolean {
  switch (key) {
    case 'POST /sleep':
      core.control({ op: 'sleep', level: Number(url.searchParams.get('level') ?? 1) || 1 });
      break;
    case 'POST /wake_up':
      core.control({ op: 'wake' });
      break;
    case 'POST /reset_prefix_cache':
      core.control({ op: 'reset_prefix_cache' });
      break;
    case 'GET /is_sleeping':
      sendJson(res, 200, JSON.stringify({ is_sleeping: core.isAsleep() }));
      return true;
    default:
      return false;
  }
  res.writeHead(200).end();
  return true;
}
