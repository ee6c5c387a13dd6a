/** How often engines were started, by what their agents wrote, and which GPUs two replicas held at once, by the log. */
import { decodeEvent, type EventRow } from '../../scheduler/core/events/event.ts';

/** What an agent writes when an engine's process is begun. */
const STARTING = 'engine starting';

/** How often each engine was started, on whichever node. */
export function startsIn(agentLogs: readonly string[]): Map<string, number> {
  const starts = new Map<string, number>();
  for (const log of agentLogs)
    for (const line of log.split('\n')) {
      if (!line.includes(`"msg":"${STARTING}"`)) continue;
      const { engine } = JSON.parse(line) as { engine: string };
      starts.set(engine, (starts.get(engine) ?? 0) + 1);
    }
  return starts;
}

/** Orders of a term that an agent has refused, by its log. */
export function staleRefused(agentLog: string, term: number): number {
  return agentLog.split('\n').filter((line) => line.includes(`"term":${term},`) && line.includes('"code":"stale_term"'))
    .length;
}

interface Assigned {
  readonly phase?: string;
  readonly parts: readonly { readonly node: string; readonly gpus: readonly number[] }[];
}

/** GPUs that were given to a replica while another still held them, in words. */
export function overlapsIn(rows: readonly EventRow[]): string[] {
  const held = new Map<string, string>();
  const found: string[] = [];
  for (const row of rows) {
    const event = decodeEvent(row.body);
    if (event?.area !== 'placement' || event.effect === 'record') continue;
    const { name } = event.resource;
    for (const [gpu, by] of held) if (by === name) held.delete(gpu);
    if (event.effect === 'remove') continue;
    const { phase, parts } = event.after as unknown as Assigned;
    if (phase === 'waiting') continue;
    for (const { node, gpus } of parts)
      for (const gpu of gpus) {
        const key = `${node}/${gpu}`;
        if (held.has(key)) found.push(`${key}: ${held.get(key)} and ${name}`);
        held.set(key, name);
      }
  }
  return found;
}
