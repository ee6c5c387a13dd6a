/** Changes and questions at the admin routes of a scheduler, and how an answer is to be understood. */
import type { Target } from '../streams/client.ts';
import type { Ending } from './history.ts';

export interface Answer {
  readonly ending: Ending;
  /** Number of the newest event that came of it; 0: nothing had to be changed. */
  readonly seq: number;
  /** The code of an error, or what became of the connection; empty when all went well. */
  readonly why: string;
}

const LIMIT_MS = 15_000;
/** Codes of answers of the kind 5xx that promise that nothing was changed (docs/ERRORS.md). */
const NOTHING_DONE: ReadonlySet<string> = new Set(['store_behind', 'store_busy', 'draining']);

export interface DeploymentSeen {
  readonly name: string;
  readonly replicas: number;
  readonly ready: number;
  readonly wanted: number;
}

interface ResourceJson {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly replicas: number };
  readonly status?: { readonly ready: number; readonly wanted: number };
}

async function ask({ url, key }: Target, path: string, body?: object): Promise<Response> {
  const options = { headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' } };
  const signal = AbortSignal.timeout(LIMIT_MS);
  if (body === undefined) return fetch(url + path, { ...options, signal });
  return fetch(url + path, { ...options, method: 'POST', body: JSON.stringify(body), signal });
}

/** How an error answer ends a change: only who is told so may say that nothing was done. */
export function endingOf(status: number, code: string): Ending {
  return status < 500 || NOTHING_DONE.has(code) ? 'refused' : 'unknown';
}

/** Sends a change; never rejects. */
export async function sendChange(target: Target, path: '/admin/v1/apply' | '/admin/v1/delete', body: object) {
  try {
    const response = await ask(target, path, body);
    const text = await response.text();
    const answer = JSON.parse(text) as { seq?: number; error?: { code?: string } };
    if (response.status === 200) return { ending: 'done', seq: answer.seq ?? 0, why: '' } satisfies Answer;
    const code = answer.error?.code ?? `status ${response.status}`;
    return { ending: endingOf(response.status, code), seq: 0, why: code } satisfies Answer;
  } catch (thrown) {
    const { cause } = thrown as { cause?: { code?: string } };
    const code = cause?.code ?? (thrown as Error).name;
    // Nobody listened, so nobody heard.
    return { ending: code === 'ECONNREFUSED' ? 'refused' : 'unknown', seq: 0, why: code } satisfies Answer;
  }
}

/** All deployments as a scheduler has them in memory. @throws when it does not answer */
export async function deploymentsOf(target: Target): Promise<DeploymentSeen[]> {
  const response = await ask(target, '/admin/v1/resources?kind=deployment');
  if (response.status !== 200) throw new Error(`status ${response.status}: ${await response.text()}`);
  const { resources } = (await response.json()) as { resources: ResourceJson[] };
  return resources.map(({ metadata, spec, status }) => ({
    name: metadata.name,
    replicas: spec.replicas,
    ready: status?.ready ?? 0,
    wanted: status?.wanted ?? -1,
  }));
}

/** Whether all wanted replicas of a deployment serve, as a scheduler sees it; false when it does not answer. */
export async function isReady(target: Target, name: string): Promise<boolean> {
  const found = await deploymentsOf(target).catch(() => []);
  return found.some((each) => each.name === name && each.ready === each.replicas && each.wanted === each.replicas);
}

/** A deployment of simulated engines as it stands in a file. */
export function deployment(name: string, spec: object, labels: Readonly<Record<string, string>> = {}): object {
  const preset = { engine: 'sim', model: `sim-${name}`, servedModelName: name, gpusPerHost: 0 };
  return { apiVersion: 'sophia/v1', kind: 'Deployment', metadata: { name, labels }, spec: { ...preset, ...spec } };
}
