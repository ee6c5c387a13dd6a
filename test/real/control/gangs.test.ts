/**
 * A replica over three local agents with simulated engines, through the doors of a user: it comes as a whole, answers at its
 * leader, and whatever member is killed, stopped or left by its agent, there is never half of it.
 */
import t, { type Test } from 'tap';
import type { Child } from '../../../lib/io/child.ts';
import { isAlive } from '../../support/child.ts';
import { type GangMember, startGangFleet } from '../../support/gang_fleet.ts';
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
  extraFlags: ['--sim-itl-ms', '2'],
};

const gang = await startGangFleet(t, { hosts: 3, model: 'wide', limitMs: LIMIT_MS });
await gang.declare(SPEC);

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
