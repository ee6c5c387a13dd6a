/** The type of an agent's parsed settings, for the pieces of the wire. */
import type { ConfigOf } from '../../lib/io/settings.ts';
import type { settings } from '../config.ts';

export type AgentConfig = ConfigOf<NonNullable<(typeof settings)['table']>>;
