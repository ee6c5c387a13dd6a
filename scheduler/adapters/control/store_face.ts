/**
 * The store as others see it: it is always there, opens when it is first used, and what was appended through it is in the
 * state in memory before the append resolves.
 */
import type { EventStore, LeaseStore } from '../../core/events/store_port.ts';
import { newStoreHealth } from '../../core/events/store_state.ts';

/**
 * @param demand the open store @throws CodedError when it cannot be opened
 * @param catchUp reads what is new into memory
 * @param opened the store where it is open, for what must not wait
 */
export function createStoreFace(
  demand: () => Promise<EventStore>,
  catchUp: () => Promise<unknown>,
  nowMs: number,
  opened: () => EventStore | undefined,
): EventStore {
  const notYet = newStoreHealth(nowMs);
  const leases: LeaseStore = {
    acquire: async (...given) => (await demand()).leases.acquire(...given),
    renew: async (...given) => (await demand()).leases.renew(...given),
    release: async (...given) => (await demand()).leases.release(...given),
    look: async (name) => (await demand()).leases.look(name),
  };
  return {
    leases,
    async append(request) {
      const outcome = await (await demand()).append(request);
      // Written is written: when the store went away since, whoever follows the log reads it later.
      if (outcome.kind === 'appended') await catchUp().catch(() => undefined);
      return outcome;
    },
    head: async () => (await demand()).head(),
    read: async (...given) => (await demand()).read(...given),
    async *follow(...given) {
      yield* (await demand()).follow(...given);
    },
    get: async (...given) => (await demand()).get(...given),
    list: async (...given) => (await demand()).list(...given),
    checkpoint: async () => (await demand()).checkpoint(),
    checkpointBefore: async (...given) => (await demand()).checkpointBefore(...given),
    archive: async (...given) => (await demand()).archive(...given),
    remember: async (...given) => (await demand()).remember(...given),
    acceptLog: async () => (await demand()).acceptLog(),
    health: () => opened()?.health() ?? notYet,
    // Whoever opened it closes it.
    close: async () => undefined,
  };
}
