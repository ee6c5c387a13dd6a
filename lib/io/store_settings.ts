/** The settings of a scheduler that are about its store; scheduler/config.ts takes them in. */
import { durationMs, oneOf, text } from './setting_types.ts';

export const STORE_SETTINGS = {
  store: {
    schema: oneOf(['embedded', 'postgres', 'off']),
    default: 'embedded',
    doc: 'Where desired state is kept (docs/STORE.md): a database in `storeDir` whose process starts when it is first needed, PostgreSQL at `storeUrl`, or nowhere.',
  },
  storeUrl: {
    schema: text({
      maxLength: 2048,
      pattern: /^postgres(ql)?:\/\//,
      allowed: 'an address that starts with postgres://',
    }).optional(),
    default: undefined,
    doc: 'Address of PostgreSQL, directly or through pgbouncer; it may hold a password, so a file or a variable is better than a flag.',
    secret: true,
  },
  storeDir: {
    schema: text({ maxLength: 4096, allowed: 'a path of 1 to 4096 characters' }).optional(),
    default: undefined,
    doc: 'Folder of the embedded database, on a local disk; absent: `store` in `dataDir`.',
  },
  storePollMs: {
    schema: durationMs({ min: 20, max: 60_000 }),
    default: 1000,
    doc: 'How often the log is looked at for changes that other schedulers made.',
  },
  storeAnchorPeriodMs: {
    schema: durationMs({ min: 1000, max: 86_400_000 }),
    default: 60_000,
    doc: 'How often the end of the log is signed into `anchors.jsonl`, when it has grown.',
  },
  storeCheckpointPeriodMs: {
    schema: durationMs({ min: 1000, max: 86_400_000 }),
    default: 600_000,
    doc: 'Shortest time between two checkpoints while requests are served, which spare a start the events before them; each takes 20,000 new events at least. There is one at the end besides.',
  },
} as const;
