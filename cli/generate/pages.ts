/**
 * The list of generated pages: one entry per page, which says where it lies and how its text is made.
 */
import { settings as agentSettings } from '../../agent/config.ts';
import type { SettingsDefinition } from '../../lib/io/settings.ts';
import { settings as schedulerSettings } from '../../scheduler/config.ts';
import { settings as upSettings } from '../config.ts';
import { configPage } from './docs_config.ts';
import { renderDoors } from './docs_doors.ts';
import { errorsPage } from './docs_errors.ts';
import { metricsPage } from './docs_metrics.ts';

export interface GeneratedPage {
  /** From the package's root. */
  readonly path: string;
  readonly content: () => string;
}

/** The settings of every process, in the order of the page. */
export const DEFINITIONS: readonly SettingsDefinition[] = [upSettings, schedulerSettings, agentSettings];

/** Defaults that differ from machine to machine, in words, so that the page is the same everywhere. */
export const DEFAULT_WORDS: Readonly<Record<string, string>> = {
  'up.dataDir': '`sophia-fleet/up` in the folder for user data',
  'up.cacheDir': '`sophia-fleet` in the folder for user caches',
  'scheduler.schedulerId': 'the host name',
  'agent.nodeName': 'the host name',
  'agent.relayWorkers': '1 on up to 4 cores, else 2',
};

export const PAGES: readonly GeneratedPage[] = [
  { path: 'docs/ERRORS.md', content: errorsPage },
  { path: 'docs/CONFIG.md', content: () => configPage(DEFINITIONS, DEFAULT_WORDS) },
  { path: 'docs/DOORS.md', content: renderDoors },
  { path: 'docs/METRICS.md', content: metricsPage },
];
