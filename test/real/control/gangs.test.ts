/**
 * A replica over three local agents with simulated engines, through the doors of a user: it comes as a whole, answers at its
 * leader, and whatever member is killed, stopped or left by its agent, there is never half of it.
 */
import path from 'node:path';
import t, { type Test } from 'tap';
import type { Child } from '../../../lib/io/child.ts';
import { isAlive } from '../../support/child.ts';
import { type GangMember, startGangFleet } from '../../support/gang_fleet.ts';
import { pidsNaming, processesOf } from '../../support/processes.ts';
import { until } from '../../support/waits.ts';

t.setTimeout(300_000);
const LIMIT_MS = 60_000;

const SPEC = {
  engine: 'sim',
  model: 'sim/wide',
  servedModelName: 'wide',
  replicas: 1,
  hosts: 3,
  gpusPerHost: 0,
  extraFlags: ['--sim-itl-ms', '2', '--sim-start-ms', '1500'],
};

const gang = await startGangFleet(t, {
  hosts: 3,
  model: 'wide',
  limitMs: LIMIT_MS,
  // A lost host is one that is away for longer than an agent takes to start again; with three hosts for three members none
  // can be avoided for long.
  scheduler: { nodeLostMs: 8000, avoidNodeMs: 1000 },
});
const rack = (node: string, name: string): Promise<unknown> => gang.apply('Node', node, {}, { rack: name });

t.test('hosts of two racks are no gang of one: plan and explain say so, and with a right label it comes', async (t) => {
  const [first = '', second = '', third = ''] = gang.hosts;
  await rack(first, 'r1');
  await rack(second, 'r1');
  await rack(third, 'r2');
  const racked = { ...SPEC, gangTopologyKey: 'rack' };
  const plan = (await gang.plan(racked)) as { readonly lines: readonly string[]; readonly pending: number };
  t.equal(plan.pending, 1);
  t.match(plan.lines.join('\n'), /pending wide\/0: .*needs 3 such hosts together of one rack, and r1 has 2/);
  await t.rejects(gang.declare({ ...racked, hosts: 1 }), /400 .*gangTopologyKey: makes no sense.*invalid_resource/);
  await t.rejects(gang.declare({ ...racked, gangTopologyKey: '<b>' }), /400 .*must be a label key.*invalid_resource/);
  await gang.declare(racked);
  await until(
    async () => /r2 has 1; it would fit if 2 more such hosts of rack r2/.test(await gang.explain()),
    'the explanation',
    LIMIT_MS,
  );
  t.same(await gang.members(), []);
  await rack(third, 'r1');
});

const memberOf = (members: readonly GangMember[]): GangMember => members[1] as GangMember;

/** All members of one try are gone, and the next try is whole. */
async function restarted(t: Test, before: readonly GangMember[], why: RegExp): Promise<GangMember[]> {
  const now = await gang.whole(before);
  await until(() => before.every(({ pid }) => !isAlive(pid)), 'the processes of the try before to end', LIMIT_MS);
  const told = await gang.told();
  t.match(
    told.findLast((line) => line.startsWith('action.taken')),
    why,
  );
  t.match(await gang.ask(), /./);
  return now;
}

t.test('a member that is killed while the leader still starts: nobody goes on without it', async (t) => {
  let early: GangMember[] = [];
  await until(async () => (early = await gang.members()).length === 3, 'three processes', LIMIT_MS);
  t.ok(early.some(({ state }) => state !== 'ready'));
  process.kill(memberOf(early).pid, 'SIGKILL');
  await restarted(t, early, /SIGKILL/);
});

t.test('it comes as a whole, and its leader alone is asked', async (t) => {
  const members = await gang.whole();
  t.same(members.map(({ node }) => node).toSorted(), [...gang.hosts].toSorted());
  t.same(
    members.map(({ routable }) => routable),
    [true, false, false],
  );
  t.notMatch(await gang.ask(), /^\(/);
});

t.test('a killed member', async (t) => {
  const before = await gang.whole();
  process.kill(memberOf(before).pid, 'SIGKILL');
  await restarted(t, before, /has failed.*SIGKILL/);
});

t.test('a killed leader', async (t) => {
  const before = await gang.whole();
  process.kill((before[0] as GangMember).pid, 'SIGKILL');
  await restarted(t, before, /has failed.*SIGKILL/);
});

t.test('a member that stands still is found out at the leader by the first request', async (t) => {
  const before = await gang.whole();
  process.kill(memberOf(before).pid, 'SIGSTOP');
  // Longer than it takes the leader to miss it.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const answer = gang.ask();
  await restarted(t, before, /has failed/);
  t.comment(`the request that found it out: ${await answer}`);
});

t.test(
  'a killed agent: its engine lives on, the leader answers, and the next agent takes the member over',
  async (t) => {
    const before = await gang.whole();
    const { node } = memberOf(before);
    const { fleet } = gang;
    const at = gang.hosts.indexOf(node);
    const agent = (at === 0 ? fleet.agent : fleet.otherAgents[at - 1]) as Child;
    process.kill(agent.pid, 'SIGKILL');
    await agent.exited;
    t.notMatch(await gang.ask(), /^\(/, 'the members speak to each other, not to agents');
    await fleet.restartAgent(node);
    const now = await gang.whole();
    t.same(now.map(({ pid }) => pid).toSorted(), before.map(({ pid }) => pid).toSorted());
  },
);

t.test(
  'a host that is gone: what is left of the gang stops, and when there are three hosts again it comes again',
  async (t) => {
    const before = await gang.whole();
    const dead = memberOf(before);
    const { fleet } = gang;
    const at = gang.hosts.indexOf(dead.node);
    // The agent of a host that was harmed before is another process now.
    const [agent = 0] = pidsNaming(path.join(fleet.root, `${at === 0 ? 'agent' : `agent-${at}`}.yaml`));
    for (const { pid } of processesOf([agent, dead.pid]).toReversed()) process.kill(pid, 'SIGKILL');
    await until(() => before.every(({ pid }) => !isAlive(pid)), 'the others to end', LIMIT_MS);
    await until(
      async () => (await gang.told()).some((line) => /action.taken .* not reachable/.test(line)),
      'the action',
    );
    t.same(
      (await gang.members()).filter(({ node, state }) => node !== dead.node && state === 'ready'),
      [],
    );
    await fleet.restartAgent(dead.node);
    await gang.whole(before);
    t.match(await gang.ask(), /./);
  },
);

t.test('deleted: nothing is left', async (t) => {
  const before = await gang.whole();
  await gang.undeclare();
  await until(() => before.every(({ pid }) => !isAlive(pid)), 'all members to end', LIMIT_MS);
  await until(
    async () => (await gang.told()).at(-1)?.startsWith('placement.released') === true,
    'the release',
    LIMIT_MS,
  );
  t.comment((await gang.told()).join('\n'));
});
