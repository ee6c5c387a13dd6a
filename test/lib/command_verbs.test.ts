/** The table of orders: what is refused, and with which words, wherever the order comes in. */
import t from 'tap';
import { outputCost, requireOrder, VERB_RULES, verbRule } from '../../lib/command_verbs.ts';

t.test('an order is complete when it names what its verb needs', async (t) => {
  t.match(requireOrder({ verb: 'COMMAND_VERB_ENGINE_DRAIN', engine: 'e0' }), { target: 'engine', changes: true });
  t.match(requireOrder({ verb: 'COMMAND_VERB_NODE_DRAIN' }), { target: 'node' });
  t.match(requireOrder({ verb: 'COMMAND_VERB_GPU_RELEASE', gpu: 0 }), { target: 'node' });
  t.throws(() => requireOrder({ verb: 'COMMAND_VERB_ENGINE_DRAIN' }), { code: 'missing_field', param: 'engine' });
  t.throws(() => requireOrder({ verb: 'COMMAND_VERB_GPU_RELEASE' }), { code: 'missing_field', param: 'gpu' });
  const lora = { verb: 'COMMAND_VERB_LORA_LOAD', engine: 'e0', loraName: 'a', loraPath: '' };
  t.throws(() => requireOrder(lora), { code: 'missing_field', param: 'loraPath' });
});

t.test('nobody may give an order that does not exist, or one that speaks of another order', async (t) => {
  for (const verb of ['COMMAND_VERB_UNSPECIFIED', 'toString', 'COMMAND_VERB_CANCEL', 'COMMAND_VERB_CREDIT']) {
    t.throws(() => requireOrder({ verb, engine: 'e0' }), { code: 'invalid_value', param: 'verb' }, verb);
  }
  t.equal(verbRule('constructor'), undefined);
});

t.test('reading is not changing: logs and journals may be asked for by any scheduler', async (t) => {
  const reading = Object.entries(VERB_RULES).filter(([, rule]) => !rule.changes && rule.target !== 'none');
  t.same(
    reading.map(([verb]) => verb),
    ['COMMAND_VERB_ENGINE_LOGS', 'COMMAND_VERB_ENGINE_JOURNAL'],
  );
  t.equal(outputCost(10, 0), 10);
  t.equal(outputCost(0, 2), 512);
});
