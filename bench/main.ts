#!/usr/bin/env node
/**
 * `npm run bench -- NAME`: the programs behind every performance figure in the docs. Each prints a table for a person
 * and, with --json, one JSON object as its last line.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { CodedError } from '../lib/errors.ts';
import { runAgentRestart } from './agent_restart/agent_restart.ts';
import { runAudit } from './audit/audit.ts';
import { runCancel } from './cancel/cancel.ts';
import { runChaos } from './chaos/chaos.ts';
import { addCompareCommand } from './compare/command.ts';
import { runDeath } from './death/death.ts';
import { runIdle } from './idle/idle.ts';
import { runSensorHang } from './gpu/sensor_hang.ts';
import { PICK_POLICIES, runPick } from './micro/pick.ts';
import { addLoadCommand } from './load/command.ts';
import { runMicroRelay } from './micro/relay.ts';
import { runModels } from './models/models.ts';
import { runPlace } from './place/place.ts';
import { runLeaders } from './leaders/leaders.ts';
import { runReaders } from './readers/readers.ts';
import { LOADS, runRelay } from './relay/relay.ts';
import { ROLLOUT_FAULTS, type RolloutFault, runRollout, STRATEGY_NAMES, type StrategyName } from './rollout/rollout.ts';
import { runStoreFaults } from './store_faults/store_faults.ts';
import { runChaosStreams } from './streams/chaos.ts';
import { FAULT_NAMES } from './streams/faults.ts';
import { addSimCommands } from './sim/commands.ts';
import { runFairness } from './sim/fairness.ts';

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Give a whole number above 0.');
  return value;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('Give a whole number.');
  return value;
}

function loadNames(text: string): string[] {
  const names = text.split(',');
  const unknown = names.find((name) => !LOADS.some((load) => load.name === name));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`"${unknown}" is no load; there are ${LOADS.map((load) => load.name).join(', ')}.`);
  return names;
}

/** A list of words that are all known. */
function wordsOf<Word extends string>(known: readonly Word[]): (text: string) => Word[] {
  return (text) => {
    const words = text.split(',');
    const unknown = words.find((word) => !known.some((each) => each === word));
    if (unknown !== undefined)
      throw new InvalidArgumentError(`"${unknown}" is not known; there are ${known.join(', ')}.`);
    return words as Word[];
  };
}

function seconds(text: string): number {
  const value = Number(text.replace(/s$/, ''));
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('Give seconds, such as 3 or 3s.');
  return value;
}

const program = new Command('bench').description(
  'measure this build on this machine; figures are ratios within one run',
);

program
  .command('relay')
  .description('CPU per token and added time to first token, against baselines on the same engines')
  .option('--json', 'one JSON object as the last line')
  .option('--seconds <n>', 'measured time per cell', wholeNumber, 4)
  .option(
    '--loads <names>',
    'which loads',
    loadNames,
    LOADS.map((load) => load.name),
  )
  .option('--ttft-requests <n>', 'requests per point of the added time to first token', wholeNumber, 200)
  .action(runRelay);

program
  .command('readers')
  .description('slow, stalled and normal readers mixed: memory of the processes, and speed of the normal ones')
  .option('--json', 'one JSON object as the last line')
  .option('--requests <n>', 'requests in all, half over HTTP and half over GenerateMany', wholeNumber, 10_000)
  .option('--concurrency <n>', 'requests at a time', wholeNumber, 200)
  .option('--tokens <n>', 'tokens of each answer', wholeNumber, 64)
  .action(runReaders);

program
  .command('agent-chaos')
  .description('a seeded storm of faults over an agent and its engines: what is left over, lost or wrong afterwards')
  .option('--json', 'one JSON object as the last line')
  .option('--faults <n>', 'how many faults', wholeNumber, 60)
  .option('--seed <n>', 'which story', count, 1)
  .option('--engines <n>', 'simulated engines', count, 8)
  .option('--llama <n>', 'embedded engines with a real model besides', count, 0)
  .option('--vllm-model <folder>', 'one real vLLM besides, which serves the model of this folder')
  .option('--vllm-command <file>', 'the vllm command, when it is not on PATH')
  .option('--every <ms>', 'mean pause before a fault', count, 100)
  .option('--overlap <n>', 'engines that may be down at a time', wholeNumber, 5)
  .action(runChaos);

program
  .command('chaos')
  .description('streams while engines, agents, threads or the scheduler die under them: lost and changed answers, gaps')
  .option('--json', 'one JSON object as the last line')
  .addOption(new Option('--fault <name>', 'what dies').choices([...FAULT_NAMES]).default('kill'))
  .addOption(new Option('--engine <kind>', 'simulated, or the embedded model').choices(['sim', 'llama']).default('sim'))
  .option('--agents <n>', 'agents', wholeNumber, 2)
  .option('--engines <n>', 'engines in all', wholeNumber, 4)
  .option('--streams <n>', 'streams at a time', wholeNumber, 64)
  .option('--every <seconds>', 'between two faults; 3, and 10 for stop, agent, scheduler and drain', seconds)
  .option('--seconds <n>', 'length of the run', wholeNumber, 120)
  .option('--tokens <n>', 'tokens of each answer', wholeNumber, 200)
  .action(runChaosStreams);

program
  .command('death')
  .description('time from the death of an engine to the knowledge of the scheduler, and false alarms under overload')
  .option('--json', 'one JSON object as the last line')
  .option('--kills <n>', 'kills, half of them of engines that an earlier agent started', wholeNumber, 100)
  .option('--stops <n>', 'stops of an engine core under load', wholeNumber, 5)
  .option('--load-seconds <n>', 'length of the run at 150 % load', wholeNumber, 60)
  .option('--seed <n>', 'for the arrival of requests', count, 1)
  .action(runDeath);

program
  .command('agent-restart')
  .description('an agent that is killed under load and started again: engines that restart, time until it serves')
  .option('--json', 'one JSON object as the last line')
  .option('--streams <n>', 'streams that run meanwhile', wholeNumber, 64)
  .option('--rounds <n>', 'how often', wholeNumber, 5)
  .action(runAgentRestart);

program
  .command('agent-idle')
  .description('an agent and a scheduler with nothing to do: CPU and memory of the processes')
  .option('--json', 'one JSON object as the last line')
  .option('--gpus <n>', 'GPUs of the host, read from a stand-in for nvidia-smi', wholeNumber, 8)
  .option('--engines <n>', 'idle engines of the host', wholeNumber, 8)
  .option(
    '--agents <n>',
    'agents that speak once a second: up to 2000 with real sessions and lanes, more in process',
    wholeNumber,
    1000,
  )
  .option(
    '--simulated <n>',
    'agents fed to the core of a scheduler in this process, when --agents is not above 2000',
    wholeNumber,
    10_000,
  )
  .option('--changing <n>', 'GPUs and engines of an agent that change each second', wholeNumber, 2)
  .option('--settle <n>', 'seconds before a measurement; the collector tidies up after a start', wholeNumber, 40)
  .option('--seconds <n>', 'measured time of each part', wholeNumber, 30)
  .action(runIdle);

program
  .command('sensor-hang')
  .description('the GPU driver hangs under a real agent: lag of its event loop against a control run, and the alarm')
  .option('--json', 'one JSON object as the last line')
  .option('--seconds <n>', 'measured time of each of the two runs', wholeNumber, 60)
  .action(runSensorHang);

program
  .command('micro-relay')
  .description('CPU per token of one relay thread from socket bytes to lane bytes, in process, against the bare path')
  .option('--json', 'one JSON object as the last line')
  .option('--streams <n>', 'streams at a time', wholeNumber, 256)
  .option('--tokens <n>', 'tokens of each stream', wholeNumber, 512)
  .option('--rounds <n>', 'measured rounds of each path', wholeNumber, 9)
  .action(runMicroRelay);

program
  .command('cancel')
  .description('time from a client going away to the engine having stopped, in every phase and at every door')
  .option('--json', 'one JSON object as the last line')
  .option('--rounds <n>', 'clients of each phase and door', wholeNumber, 50)
  .action(runCancel);

program
  .command('fairness')
  .description('shares of tenants in a fleet that everybody wants more of than there is; in virtual time')
  .option('--json', 'one JSON object as the last line')
  .option('--seconds <n>', 'virtual time of each case', wholeNumber, 1200)
  .option('--overload <n>', 'how many times its share the most modest tenant asks for', Number, 1.3)
  .option('--seed <n>', 'which arrivals and sizes', count, 1)
  .action(runFairness);

program
  .command('pick')
  .description('microseconds per pick with 8 to 4,000 engines, and what is left of the accounts after random events')
  .option('--json', 'one JSON object as the last line')
  .option('--engines <list>', 'fleet sizes', (text: string) => text.split(',').map(wholeNumber), [8, 100, 1000, 4000])
  .addOption(new Option('--policy <name>', 'which policy').choices(PICK_POLICIES).default('cost'))
  .option('--index-mb <n>', 'memory of the index of prefixes, MiB', wholeNumber, 32)
  .option('--per-second <n>', 'requests per second of the paced part', wholeNumber, 500)
  .option('--seconds <n>', 'length of the paced part for each fleet size', wholeNumber, 5)
  .option('--events <n>', 'random events on the accounts', wholeNumber, 1_000_000)
  .option('--seed <n>', 'which story', count, 1)
  .option('--divided', 'requests are divided between two revisions by weight')
  .action(runPick);

program
  .command('place')
  .description('placement of a whole fleet from scratch: seconds and memory; and small fleets against an exact solver')
  .option('--json', 'one JSON object as the last line')
  .option('--nodes <n>', 'nodes of the large fleet', wholeNumber, 5000)
  .option('--replicas <n>', 'replicas that are wanted on it', wholeNumber, 20_000)
  .option('--cases <n>', 'small fleets', wholeNumber, 500)
  .option('--seed <n>', 'which fleets', count, 1)
  .action(runPlace);

program
  .command('models')
  .description(
    'a model brought to hosts while its source is cut: bytes, seconds, checksums; a source that lies; and a host that gives to another',
  )
  .option('--json', 'one JSON object as the last line')
  .option('--megabytes <n>', 'size of the model, in 10^6 bytes', wholeNumber, 1000)
  .option('--hosts <n>', 'hosts that need it, each an agent of its own', wholeNumber, 2)
  .option('--cuts <n>', 'times that the source is cut', count, 2)
  .action(runModels);

program
  .command('audit')
  .description('seconds to verify a log in a store, and which ways of tampering are found and named')
  .option('--json', 'one JSON object as the last line')
  .option('--events <n>', 'events of the log', wholeNumber, 1_000_000)
  .option('--tamper-events <n>', 'events of the copy that is tampered with', wholeNumber, 20_000)
  .option('--store-url <url>', 'a PostgreSQL instead of the embedded store; a schema of its own is made and dropped')
  .action(runAudit);

program
  .command('rollout')
  .description('a deployment changes its revision under streams, by each strategy, with good and bad revisions')
  .option('--json', 'one JSON object as the last line')
  .option('--strategies <list>', 'which strategies', wordsOf(STRATEGY_NAMES), [...STRATEGY_NAMES] as StrategyName[])
  .option('--faults <list>', 'which revisions', wordsOf(ROLLOUT_FAULTS), [...ROLLOUT_FAULTS] as RolloutFault[])
  .option('--replicas <n>', 'replicas of the deployment', wholeNumber, 2)
  .option('--streams <n>', 'streams that run meanwhile', wholeNumber, 32)
  .option('--tokens <n>', 'tokens of each stream', wholeNumber, 100)
  .action(runRollout);

program
  .command('store-faults')
  .description('streams and changes while the store and its schedulers die: what is lost, done twice, or fails')
  .option('--json', 'one JSON object as the last line')
  .addOption(
    new Option('--store <kind>', 'a PostgreSQL of its own with two schedulers, or the embedded store')
      .choices(['pg', 'pglite'])
      .default('pg'),
  )
  .option('--seconds <n>', 'how long faults strike', wholeNumber, 120)
  .option('--streams <n>', 'streams at a time', wholeNumber, 32)
  .option('--writers <n>', 'clients that change deployments', wholeNumber, 6)
  .option('--tokens <n>', 'tokens of each stream', wholeNumber, 60)
  .option('--every <seconds>', 'between two faults', seconds, 3)
  .action(runStoreFaults);

program
  .command('leaders')
  .description('three schedulers on one PostgreSQL; the leader is paused and killed: time to takeover, and fencing')
  .option('--json', 'one JSON object as the last line')
  .addOption(new Option('--store <kind>', 'a PostgreSQL of its own').choices(['pg']).default('pg'))
  .option('--pgbouncer', 'through a pgbouncer with a transaction pool')
  .option('--rounds <n>', 'pauses, and as many kills', wholeNumber, 5)
  .option('--seconds <n>', 'no new round after so long', wholeNumber, 600)
  .option('--lease-ms <n>', 'time to live of the lease', wholeNumber, 5000)
  .action(runLeaders);

addSimCommands(program);

addLoadCommand(program);
addCompareCommand(program);

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (!(error instanceof CodedError)) throw error;
  process.stderr.write(`${error.code}: ${error.message}\n`);
  process.exitCode = 1;
}
