/** The parts of failover: journal, what was sent, rules, pace, attempts without a lane. */
import t from 'tap';
import type { NodeId, RequestId } from '../../../lib/ids.ts';
import { AbandonedAttempts } from '../../../scheduler/core/relay/abandoned.ts';
import { AnswerSoFar } from '../../../scheduler/core/relay/answer_so_far.ts';
import { DetachedRequests } from '../../../scheduler/core/relay/detached.ts';
import { createRetryBudget } from '../../../scheduler/core/relay/failover.ts';
import { EmissionJournal } from '../../../scheduler/core/relay/journal.ts';
import { type Ask, NOT_RESUMABLE, whyNotResumable } from '../../../scheduler/core/relay/recovery_rules.ts';
import { hasReasoning, readChunkHead, SentText, textOf } from '../../../scheduler/core/relay/sent_text.ts';
import { fakeLane, idBytes, NODE, request } from '../fakes.ts';

t.test('the journal keeps ids in order, grows, is cut back, and gives up at its bound', async (t) => {
  const journal = new EmissionJournal(200);
  for (let id = 0; id < 100; id++) journal.append(idBytes(id, 0xffff_ffff - id));
  t.equal(journal.length, 200);
  t.same([...journal.ids.subarray(0, 4)], [0, 0xffff_ffff, 1, 0xffff_fffe]);
  journal.truncate(3);
  journal.append(idBytes(7));
  t.same([...journal.ids], [0, 0xffff_ffff, 1, 7]);
  journal.truncate(10);
  t.equal(journal.length, 4, 'it is never made longer');
  for (let id = 0; id < 100; id++) journal.append(idBytes(id, id));
  t.ok(journal.overflowed);
  t.equal(journal.length, 204, 'tokens are counted all the same');
  t.equal(journal.ids.length, 0);
});

const event = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;
const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 5, model: 'm "x"' };
const delta = (content: string): string => event({ ...head, choices: [{ index: 0, delta: { content } }] });

t.test('what all chunks share is read of the first; other shapes are not guessed at', async (t) => {
  t.same(readChunkHead(Buffer.from(delta('a') + delta('b'))), { id: 'chatcmpl-1', created: 5, model: 'm "x"' });
  const others = [
    '',
    'x',
    event({}),
    event({ id: 1, created: 2, model: 'm', choices: [] }),
    'data: {,"choices":',
    'data: "choices":',
  ];
  for (const other of others) t.equal(readChunkHead(Buffer.from(other)), undefined, JSON.stringify(other));
});

t.test('the text of events is read for chats and completions', async (t) => {
  t.equal(
    textOf(Buffer.from(delta('a🚀') + event({ choices: [{ text: 'b' }] }) + event({ choices: [] }) + event({}))),
    'a🚀b',
  );
  t.equal(textOf(Buffer.from('data: {"choices":[]}')), '', 'an end without a line break');
  t.equal(textOf(Buffer.from('data: nonsense\n\n')), undefined);
  const sent = new SentText();
  sent.add(Buffer.from(delta('x'.repeat(100))));
  sent.add(Buffer.from(delta('yz')));
  t.match(sent, { units: 102, tail: `${'x'.repeat(62)}yz`, lost: false });
  sent.add(Buffer.from('data: nonsense\n\n'));
  t.ok(sent.lost);
});

t.test('an answer can go on when its ids and the shape of its chunks are known', async (t) => {
  const answer = new AnswerSoFar(4, true);
  const body = Buffer.from('{"messages":[]}');
  const asked = request({ body });
  t.equal(answer.whyNotResumable(asked), 'unknown_chunks');
  answer.take(Buffer.from(delta('')), idBytes(), false);
  answer.take(Buffer.from(delta('ab')), idBytes(1, 2), false);
  answer.take(Buffer.alloc(0), idBytes(3), true);
  t.equal(answer.whyNotResumable(asked), undefined);
  t.same(answer.resume, {
    id: 'chatcmpl-1',
    created: 5,
    model: 'm "x"',
    finished: true,
    text: { units: 2, tail: 'ab' },
  });
  answer.take(Buffer.from('data: nonsense\n\n'), idBytes(4), false);
  t.equal(answer.whyNotResumable(asked), 'unknown_chunks');
  answer.take(Buffer.alloc(0), idBytes(5), false);
  t.equal(answer.whyNotResumable(asked), 'too_long');
  const untold = new AnswerSoFar(4, false);
  untold.take(Buffer.from(delta('text without ids')), idBytes(), false);
  t.equal(untold.whyNotResumable(asked), 'no_token_ids');
  const thinks = new AnswerSoFar(4, false);
  thinks.take(
    Buffer.from(event({ ...head, choices: [{ delta: { reasoning_content: 'Let me see' } }] })),
    idBytes(1),
    false,
  );
  t.equal(thinks.whyNotResumable(asked), 'reasoning');
  t.notOk(hasReasoning(Buffer.from(delta('"reasoning":"x') + event({ choices: [{ delta: { reasoning: null } }] }))));
  const plain = new AnswerSoFar(4, false);
  plain.take(Buffer.from(delta('')), idBytes(), false);
  t.same(Object.keys(plain.resume), ['id', 'created', 'model']);
  t.equal(plain.whyNotResumable(request({ body: Buffer.from('{"n":2}') })), 'several_choices');
});

/** For each reason a request that it holds for, and one like it that goes on. */
const EXAMPLES: Readonly<Record<keyof typeof NOT_RESUMABLE, readonly [no: Ask, yes: Ask]>> = {
  several_choices: [{ n: 2 }, { n: 1, best_of: 1, use_beam_search: false }],
  several_prompts: [{ prompt: ['a', 'b'] }, { prompt: [1, 2, 3] }],
  guided: [{ response_format: { type: 'json_object' } }, { response_format: { type: 'text' }, guided_json: null }],
  tools: [{ tools: [{}] }, { tools: [], functions: [] }],
  reasoning: [{ reasoning_effort: 'low' }, { include_reasoning: false }],
  media: [
    { messages: [{ content: [{ type: 'image_url' }] }] },
    { messages: [{ content: [{ type: 'text', text: 'a' }] }, { content: 'b' }] },
  ],
  rendering: [{ suffix: 'a' }, { echo: false }],
  completion_logprobs: [
    { prompt: 'a', logprobs: 0 },
    { messages: [], logprobs: true, top_logprobs: 2 },
  ],
  prompt_logprobs: [{ prompt_logprobs: 1 }, {}],
  stop_after_minimum: [
    { stop: 'a', min_tokens: 2 },
    { stop: ['a'], min_tokens: 0 },
  ],
  audio: [{ modalities: ['audio'] }, { messages: [] }],
  engine_extras: [{ logits_processors: [] }, { logit_bias: {} }],
};

t.test('each kind of request that cannot go on is known, and no other', async (t) => {
  t.same(Object.keys(EXAMPLES), Object.keys(NOT_RESUMABLE));
  for (const [name, [no, yes]] of Object.entries(EXAMPLES)) {
    t.equal(whyNotResumable('chat', no), name);
    t.equal(whyNotResumable('chat', yes), undefined, `not ${name}`);
  }
  t.equal(whyNotResumable('embeddings', {}), 'embeddings');
});

t.test('recoveries start at once up to a burst, then one after another, and none beyond the wait', async (t) => {
  const budget = createRetryBudget({ burst: 2, perSecond: 10 });
  t.same(
    [0, 0, 0, 0].map(() => Math.round(budget.take(1000, 1000) ?? -1)),
    [0, 0, 100, 200],
  );
  t.equal(budget.take(1000, 250), undefined, 'and what was refused took no slot');
  t.equal(Math.round(budget.take(1000, 1000) ?? -1), 300);
  t.same(
    [0, 0].map(() => budget.take(5000, 0)),
    [0, 0],
    'after a while there is room again',
  );
});

t.test('attempts that were given up are ended when a lane leads to their worker again', async (t) => {
  const abandoned = new AbandonedAttempts();
  const attempt = (id: string, node: string, worker: number) => ({
    id: id as RequestId,
    node: node as NodeId,
    worker,
    attempt: 1,
    incarnation: 3,
    index: 7,
    hadBytes: 70,
  });
  abandoned.add(attempt('a', 'n1', 0), 0);
  abandoned.add(attempt('b', 'n1', 1), 0);
  abandoned.add(attempt('c', 'n2', 0), 0);
  const lane = fakeLane('n1' as NodeId, 0);
  abandoned.laneOpened(lane, 1000);
  t.match(lane.attached, [{ order: { id: 'a', attempt: 1, incarnation: 3, index: 7, hadBytes: 70 }, cancelled: true }]);
  const sink = lane.attached[0]?.sink;
  sink?.onHead();
  sink?.onTokens(Buffer.alloc(0), Buffer.alloc(0), 0);
  sink?.onBody(Buffer.alloc(0), true);
  sink?.onDone(undefined);
  sink?.onError(new Error('nobody listens') as never);
  t.equal(abandoned.size, 2);
  abandoned.laneOpened(fakeLane('n1' as NodeId, 9), 70_000);
  t.equal(abandoned.size, 0, 'old ones have ended by themselves');
  for (let at = 0; at < 5000; at++) abandoned.add(attempt(`x${at}`, 'n', 0), 0);
  t.equal(abandoned.size, 4096);
});

t.test('requests without a scheduler are found until they are old, or their lane is closed', async (t) => {
  const detached = new DetachedRequests();
  const told = (id: string) => ({
    id,
    engine: 'e',
    incarnation: 1,
    attempt: 0,
    eventsBefore: 0,
    identity: 'i',
    body: 'b',
  });
  const lane = fakeLane(NODE, 0);
  const closed = fakeLane(NODE, 1);
  detached.told(lane, [told('a'), told('b')], 0);
  detached.told(closed, [told('c')], 0);
  t.equal(detached.find('a' as RequestId)?.lane, lane);
  closed.closed = true;
  t.equal(detached.find('c' as RequestId), undefined);
  detached.told(lane, [told('b')], 50_000);
  t.equal(detached.size, 2, 'that of a closed lane is forgotten');
  detached.told(lane, [told('d')], 70_000);
  t.equal(detached.find('a' as RequestId), undefined, 'old');
  t.ok(detached.find('b' as RequestId), 'told again');
  detached.forget('b' as RequestId);
  t.equal(detached.find('b' as RequestId), undefined);
  detached.told(
    lane,
    Array.from({ length: 20_000 }, (_, at) => told(`r${at}`)),
    70_000,
  );
  t.equal(detached.size, 16_384);
});
