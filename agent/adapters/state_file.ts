/**
 * What the agent remembers over its restart, as one small JSON file that is replaced whole, so that a crash leaves the old
 * one or the new one. A file that cannot be understood is put aside and told; the agent then begins without memory, which
 * stops no engine. A disk that is full or read-only leaves the newest state in memory, to be written later.
 */
import { open, readFile, rename, stat } from 'node:fs/promises';
import { z } from 'zod';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/io/logger.ts';
import { type AgentState, EMPTY_STATE } from '../core/agent_state.ts';
import type { StateStore } from '../ports.ts';

export interface StateFileOptions {
  readonly file: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly retryMs?: number;
}

const RETRY_MS = 5000;
const MAX_BYTES = 16 * 1024 * 1024;

const count = z.int().min(0);
const holdSchema = z.object({ actor: z.string(), reason: z.string(), sinceMs: z.number() });
const specSchema = z.object({
  name: z.string(),
  kind: z.union([z.string(), z.number()]),
  model: z.string(),
  servedModelName: z.string(),
  gpuIds: z.array(count),
  extraFlags: z.array(z.string()),
  environment: z.record(z.string(), z.string()),
  unixSocket: z.string().optional(),
  tcpPort: count.optional(),
  gpuMemoryShare: z.number().optional(),
  limits: z.record(z.string(), z.union([z.number(), z.string()])).nullable(),
  modelSource: z
    .object({ url: z.string(), revision: z.string(), sha256: z.record(z.string(), z.string()) })
    .nullish()
    .transform((source) => source ?? undefined),
});
const stateSchema = z.object({
  version: z.literal(1),
  orders: z.object({ term: count.optional(), generation: count.optional(), orderedInTerm: count.optional() }),
  desired: z.array(specSchema).max(4096).optional(),
  nodeHold: holdSchema.optional(),
  holds: z.record(z.string(), holdSchema),
  served: z.record(z.string(), count).optional(),
  starts: z.record(
    z.string(),
    z.array(z.object({ totalMs: z.number().min(0), marks: z.record(z.string(), z.number().min(0)) })),
  ),
});

class StateFile implements StateStore {
  readonly #options: StateFileOptions;
  #newest: AgentState | undefined;
  #work: Promise<void> = Promise.resolve();
  #isWriting = false;
  #degraded: string | undefined;
  #cancelRetry: (() => void) | undefined;

  constructor(options: StateFileOptions) {
    this.#options = options;
  }

  degraded(): string | undefined {
    return this.#degraded;
  }

  async load(): Promise<AgentState> {
    const { file, logger } = this.#options;
    let text: string;
    try {
      if ((await stat(file)).size > MAX_BYTES) throw Object.assign(new Error('too large'), { code: 'EFBIG' });
      text = await readFile(file, 'utf8');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT') logger.warn({ file, code }, 'state_degraded: what the agent remembered cannot be read');
      return EMPTY_STATE;
    }
    try {
      const { version: _version, ...state } = stateSchema.parse(JSON.parse(text));
      return state as AgentState;
    } catch (error) {
      await rename(file, `${file}.corrupt`).catch((cause: unknown) =>
        logger.warn({ file, err: cause }, 'a damaged state file could not be put aside'),
      );
      logger.warn(
        { file, err: error },
        'state_degraded: a damaged state file was put aside; the agent begins without memory',
      );
      return EMPTY_STATE;
    }
  }

  save(state: AgentState): void {
    this.#newest = state;
    if (this.#isWriting) return;
    this.#isWriting = true;
    this.#work = this.#writeAll();
  }

  async flush(): Promise<void> {
    this.#cancelRetry?.();
    await this.#work;
  }

  /** Only the newest state counts: what was saved while a write ran is written next, what lay between is not. */
  async #writeAll(): Promise<void> {
    for (let state = this.#newest; state !== undefined; state = this.#newest) {
      this.#newest = undefined;
      try {
        await this.#replace(state);
        if (this.#degraded !== undefined) this.#options.logger.info({}, 'the state file is written again');
        this.#degraded = undefined;
      } catch (error) {
        this.#fell(state, error as NodeJS.ErrnoException);
        break;
      }
    }
    this.#isWriting = false;
  }

  async #replace(state: AgentState): Promise<void> {
    const { file } = this.#options;
    const temporary = `${file}.tmp`;
    const handle = await open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify({ version: 1, ...state })}\n`);
      // After a power cut a renamed file without its bytes would be worse than the old one.
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  }

  #fell(state: AgentState, error: NodeJS.ErrnoException): void {
    const why = error.code ?? error.message;
    if (this.#degraded === undefined)
      this.#options.logger.warn({ code: why }, 'state_degraded: orders and drains are kept in memory only');
    this.#degraded = why;
    this.#newest ??= state;
    this.#cancelRetry?.();
    this.#cancelRetry = this.#options.clock.after(this.#options.retryMs ?? RETRY_MS, () => {
      if (this.#newest !== undefined) this.save(this.#newest);
    });
  }
}

export const createStateStore = (options: StateFileOptions): StateStore => new StateFile(options);
