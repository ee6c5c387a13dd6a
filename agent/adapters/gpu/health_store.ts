/**
 * Keeps the health of the GPUs in one small file, written whole and renamed into place. A file that is not what was
 * written is set aside and named: the agent goes on without its quarantines rather than not at all.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { GPU_ACTIONS } from '../../core/gpu_health_table.ts';
import type { GpuHealthState } from '../../core/gpu_health_state.ts';

const MOST_GPUS = 128;
const text = z.string().max(1024);

const quarantine = z.object({
  action: z.enum(GPU_ACTIONS),
  kind: text,
  xid: z.int().optional(),
  message: text,
  sinceMs: z.number(),
});

const record = z.object({
  index: z.int().min(0),
  uuid: text.optional(),
  seenAtMs: z.number(),
  episode: z.int().min(0),
  faults: z.array(z.object({ what: text, atMs: z.number(), bootId: text, episode: z.int() })).max(128),
  slowMinutes: z.array(z.number()).max(64),
  holding: z.array(text).max(64),
  counters: z.record(text, z.number()),
  recoveryAction: text.optional(),
  quarantine: quarantine.optional(),
  held: quarantine.optional(),
});

const fileSchema = z.object({
  version: z.literal(1),
  gpus: z.record(text, record).refine((gpus) => Object.keys(gpus).length <= MOST_GPUS),
  blind: z.boolean(),
});

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown reason';

export interface HealthStore {
  load(): { readonly state?: GpuHealthState; readonly degraded?: string };
  save(state: GpuHealthState): string | undefined;
}

/** Reads the file's text; undefined when there is none yet. */
function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function setAside(file: string): string {
  try {
    renameSync(file, `${file}.corrupt`);
    return `it is kept as ${path.basename(file)}.corrupt`;
  } catch (error) {
    return `it could not be set aside (${codeOf(error)})`;
  }
}

/** @param folder of the agent's data; the file in it is gpu_health.json */
export function createGpuHealthStore(folder: string): HealthStore {
  const file = path.join(folder, 'gpu_health.json');
  return {
    load() {
      try {
        const content = readIfThere(file);
        if (content === undefined) return {};
        const { gpus, blind } = fileSchema.parse(JSON.parse(content));
        return { state: { gpus, blind } as GpuHealthState };
      } catch (error) {
        if (error instanceof SyntaxError || error instanceof z.ZodError)
          return { degraded: `gpu_quarantine_unknown: the file is corrupt; ${setAside(file)}` };
        return { degraded: `gpu_quarantine_unknown: the file cannot be read (${codeOf(error)})` };
      }
    },
    save({ gpus, blind }) {
      const draft = `${file}.new`;
      try {
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        const handle = openSync(draft, 'w', 0o600);
        try {
          writeFileSync(handle, JSON.stringify({ version: 1, gpus, blind }));
          fsyncSync(handle);
        } finally {
          closeSync(handle);
        }
        renameSync(draft, file);
        return undefined;
      } catch (error) {
        return `gpu_quarantine_unsaved: the file cannot be written (${codeOf(error)})`;
      }
    },
  };
}

/** The kernel's name for this boot; empty where it does not tell. */
export function readBootId(file = '/proc/sys/kernel/random/boot_id'): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    // Not a Linux with /proc: reboots cannot be told apart, so none is counted.
    return '';
  }
}
