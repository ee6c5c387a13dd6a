/** The type of an agent's parsed settings, and what is made of them, for the pieces of the wire. */
import os from 'node:os';
import type { ConfigOf } from '../../lib/io/settings.ts';
import type { settings } from '../config.ts';
import { likelyAddress } from '../core/gang.ts';

export type AgentConfig = ConfigOf<NonNullable<(typeof settings)['table']>>;

/** Where other hosts reach engines of this one. */
export const gangAddressOf = ({ gangAddress }: Pick<AgentConfig, 'gangAddress'>): string =>
  gangAddress ?? likelyAddress(os.networkInterfaces());
