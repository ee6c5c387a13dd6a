/** The order of held requests: classes, shares of tenants in tokens, deadlines, and what it says of what stands before. */
import t from 'tap';
import type { TenantId } from '../../../../lib/ids.ts';
import { type RandomSource, seededRandom } from '../../../../lib/rng.ts';
import { FairOrder, type HeldFacts } from '../../../../scheduler/core/queue/fair_order.ts';

interface Item extends HeldFacts {
  readonly name: string;
}

let made = 0;
function item(tenant: string, change: Partial<Item> = {}): Item {
  made += 1;
  return {
    name: `${tenant}${made}`,
    tenant: tenant as TenantId,
    weight: 1,
    rank: 0,
    deadlineAtMs: Infinity,
    costTokens: 100,
    bytes: 10,
    ...change,
  };
}

function drain(order: FairOrder<Item>, count = Infinity): Item[] {
  const served: Item[] = [];
  while (order.size > 0 && served.length < count) {
    const [head] = order.heads();
    if (head === undefined) break;
    order.serve(head);
    served.push(head);
  }
  return served;
}

const names = (items: readonly Item[]): string => items.map((each) => each.tenant).join('');

t.test('tenants of equal weight take turns, request by request, whoever came first', async (t) => {
  const order = new FairOrder<Item>();
  for (let n = 0; n < 4; n += 1) order.add(item('a'));
  for (let n = 0; n < 4; n += 1) order.add(item('b'));
  const served = names(drain(order));
  t.equal(served.length, 8);
  for (const at of [2, 4, 6]) {
    const taken = served.slice(0, at);
    t.ok(Math.abs(taken.split('a').length - taken.split('b').length) <= 2, `about as many of each: ${taken}`);
  }
  t.equal(order.size, 0);
  t.equal(order.tokens, 0);
  t.equal(order.bytes, 0);
  t.same(order.heads(), []);
});

t.test('the head stays the same until something changes', async (t) => {
  const order = new FairOrder<Item>();
  for (let n = 0; n < 3; n += 1) order.add(item('a', { costTokens: 5000 }));
  for (let n = 0; n < 3; n += 1) order.add(item('b', { costTokens: 10 }));
  const [head] = order.heads();
  for (let n = 0; n < 10; n += 1) t.equal(order.heads()[0], head);
});

t.test('within a tenant the earliest deadline goes first, and of equal ones the older', async (t) => {
  const order = new FairOrder<Item>();
  const late = item('a', { deadlineAtMs: 900 });
  const first = item('a', { deadlineAtMs: 500 });
  const second = item('a', { deadlineAtMs: 500 });
  const never = item('a');
  for (const each of [never, late, first, second]) order.add(each);
  t.same(
    drain(order).map((each) => each.name),
    [first, second, late, never].map((each) => each.name),
  );
});

t.test('a smaller rank goes first, whatever the shares; each class shows its own head', async (t) => {
  const order = new FairOrder<Item>();
  const slow = item('a', { rank: 5 });
  const normal = item('b');
  const migrating = item('c', { rank: -Infinity });
  for (const each of [slow, normal, migrating]) order.add(each);
  t.same(order.heads(), [migrating, normal, slow]);
  t.same(drain(order), [migrating, normal, slow]);
});

t.test('what leaves is gone from all figures, and its turn goes on', async (t) => {
  const order = new FairOrder<Item>();
  const items = ['a', 'b', 'c', 'b', 'c'].map((tenant) => item(tenant));
  for (const each of items) order.add(each);
  t.same(order.heldBy('b' as TenantId), { requests: 2, bytes: 20, tokens: 200 });
  t.same(order.heldBy('z' as TenantId), { requests: 0, bytes: 0, tokens: 0 });
  for (const each of items) t.ok(order.remove(each));
  t.notOk(order.remove(items[0] as Item), 'once');
  t.notOk(order.serve(items[0] as Item));
  t.equal(order.size, 0);
  order.giveBack(items[0] as Item, 50);
  t.equal(order.size, 0, 'a share is not kept for a tenant that does not wait');
});

t.test('a tenant before the turn that leaves does not shift it', async (t) => {
  const order = new FairOrder<Item>();
  const first = item('a');
  order.add(first);
  for (const tenant of ['b', 'c', 'b', 'c']) order.add(item(tenant));
  const [head] = order.heads();
  order.serve(head as Item);
  order.remove(first);
  t.equal(drain(order).length, order.size + 4 - (head === first ? 0 : 1));
});

t.test('what an answer did not use is given back to its tenant', async (t) => {
  const share = (giveBack: number): number => {
    const order = new FairOrder<Item>();
    for (let n = 0; n < 400; n += 1) {
      order.add(item('a', { costTokens: 1000 }));
      order.add(item('b', { costTokens: 1000 }));
    }
    let ofA = 0;
    for (let n = 0; n < 300; n += 1) {
      const [head] = order.heads();
      order.serve(head as Item);
      if (head?.tenant !== 'a') continue;
      ofA += 1;
      order.giveBack(head, giveBack);
    }
    return ofA / 300;
  };
  t.ok(Math.abs(share(0) - 1 / 2) < 0.01);
  t.ok(Math.abs(share(500) - 2 / 3) < 0.01, 'answers of half the cost: twice as many');
});

t.test('weights out of all measure are bounded, and the largest request is served all the same', async (t) => {
  const order = new FairOrder<Item>();
  order.add(item('a', { weight: 1e-300, costTokens: 1_000_000 }));
  order.add(item('b', { weight: 1e300, costTokens: 1_000_000 }));
  t.equal(drain(order).length, 2);
});

t.test('in a full queue the place of whoever holds most for its weight goes to one who holds less', async (t) => {
  const order = new FairOrder<Item>();
  t.equal(order.victimFor(item('a')), undefined, 'nobody is there');
  const mine = [item('a'), item('a'), item('a')];
  const theirs = [item('b', { weight: 3 }), item('b', { weight: 3 })];
  for (const each of [...mine, ...theirs]) order.add(each);
  t.equal(order.victimFor(item('a')), undefined, 'nobody pushes out a request of its own');
  t.equal(order.victimFor(item('c')), mine[2], 'the last of the heaviest');
  t.equal(order.victimFor(item('b', { weight: 3 })), mine[2]);
  t.equal(order.victimFor(item('c', { rank: 1 })), undefined, 'nothing less urgent');
  const later = item('c', { rank: 7 });
  order.add(later);
  t.equal(order.victimFor(item('a')), later, 'the least urgent goes first');
});

t.test('what stands before a request is told by its class, its tenant and the weights', async (t) => {
  const order = new FairOrder<Item>();
  const mine = Array.from({ length: 4 }, () => item('a'));
  for (const each of mine) order.add(each);
  for (let n = 0; n < 10; n += 1) order.add(item('b', { weight: 2 }));
  order.add(item('c', { rank: -1, costTokens: 30 }));
  order.add(item('d', { rank: 9 }));
  t.same(order.aheadOf(item('a')), { requests: 4 + 8 + 1, tokens: 400 + 800 + 30 });
  t.same(order.aheadOf(item('z')), { requests: 1, tokens: 30 }, 'a new tenant waits for no whole queue');
  const before = new Map(order.entries());
  t.same(before.get(mine[0] as Item), { requests: 1, tokens: 30 });
  t.same(before.get(mine[3] as Item), { requests: 3 + 6 + 1, tokens: 300 + 600 + 30 });
  t.equal(order.shareOf('a' as TenantId, 1), 1 / 5);
  t.equal(order.shareOf('z' as TenantId, 1), 1 / 6);
});

/** Serves at a fixed speed while every tenant offers more than its share; gives each one's part of the tokens. */
function contend(random: RandomSource, weights: readonly number[], requests: number): number[] {
  const order = new FairOrder<Item>();
  const served = new Map<string, number>();
  // Sizes differ between tenants and within them; the arrivals keep each one backlogged.
  const sizeOf = (n: number): number => Math.ceil((20 + 3000 * random.next() ** 3) * (1 + (n % 3)));
  const refill = (n: number): void => {
    while (order.heldBy(`t${n}` as TenantId).requests < 5) {
      order.add(item(`t${n}`, { weight: weights[n] as number, costTokens: sizeOf(n) }));
    }
  };
  for (let round = 0; round < requests; round += 1) {
    for (const n of weights.keys()) refill(n);
    const [head] = order.heads();
    order.serve(head as Item);
    served.set(head?.tenant ?? '', (served.get(head?.tenant ?? '') ?? 0) + (head?.costTokens ?? 0));
  }
  const total = [...served.values()].reduce((sum, tokens) => sum + tokens, 0);
  return [...weights.keys()].map((n) => (served.get(`t${n}`) ?? 0) / total);
}

t.test('under overload tenants share by their weights within 2 %, in tokens, whatever their sizes', async (t) => {
  for (let seed = 0; seed < 12; seed += 1) {
    const random = seededRandom(seed);
    const weights = Array.from({ length: 2 + Math.floor(random.next() * 6) }, () => 1 + Math.floor(random.next() * 8));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const parts = contend(random, weights, 6000);
    const worst = Math.max(...parts.map((part, n) => Math.abs(part / ((weights[n] as number) / sum) - 1)));
    t.ok(worst < 0.02, `seed ${seed}, weights ${weights.join(':')}: off by ${(worst * 100).toFixed(2)} %`);
  }
});

t.test('under overload Jain’s index over tenants of equal weight is above 0.99', async (t) => {
  for (let seed = 100; seed < 108; seed += 1) {
    const random = seededRandom(seed);
    const parts = contend(random, new Array<number>(3 + Math.floor(random.next() * 10)).fill(1), 4000);
    const jain = 1 / (parts.length * parts.reduce((sum, part) => sum + part ** 2, 0));
    t.ok(jain > 0.99, `seed ${seed}: ${jain}`);
  }
});
