/** Stands for an agent that is killed: launches one engine, says so, and waits. */
import { createLauncher } from '../../../agent/adapters/launcher/launcher.ts';
import type { KeeperChoice } from '../../../agent/adapters/launcher/keeper_start.ts';
import type { LaunchPlan } from '../../../agent/ports.ts';
import { createLogger } from '../../../lib/io/logger.ts';

const [root, keeper, plan] = process.argv.slice(2) as [string, KeeperChoice, string];
const logger = createLogger({ name: 'test', level: 'silent', format: 'json' });
const engine = await createLauncher({ enginesFolder: root, logger, keeper }).launch(JSON.parse(plan) as LaunchPlan);
process.stdout.write(`${JSON.stringify({ pid: engine.pid, keeperPid: engine.keeperPid })}\n`);
setInterval(() => undefined, 60_000);
