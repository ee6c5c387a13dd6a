/** The scans of a chunk: which chunks of ordinary tokens are known by their end and need no parsing. */
import t from 'tap';
import { notFinishedBefore, trailingTokenIds } from '../../../agent/workers/chunk_scan.ts';

const keyAt = (chunk: string): number => trailingTokenIds(Buffer.from(chunk), 0, chunk.length);

t.test('the ids of an ordinary chunk are found from its end, whatever the endpoint', async (t) => {
  const chat =
    '{"id":"a","choices":[{"index":0,"delta":{"content":"x"},"logprobs":null,"finish_reason":null,"token_ids":[5,77]}]}';
  const completion =
    '{"id":"a","choices":[{"index":0,"text":"x","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":[5]}]';
  for (const chunk of [chat, `${completion}}`, `${completion},"usage":null}`]) {
    const key = keyAt(chunk);
    t.equal(key, chunk.indexOf('"token_ids"', chunk.lastIndexOf('null,')), chunk);
    t.ok(notFinishedBefore(Buffer.from(chunk), key), 'and nothing else is to be found in it');
  }
});

t.test('a chunk of another shape is left to be parsed', async (t) => {
  for (const chunk of [
    '{"choices":[{"token_ids":null}]}',
    '{"choices":[{"token_ids":[5]}],"usage":{"prompt_tokens":1}}',
    '{"choices":[{"token_ids":[5],"x":1}],"usage":null}',
    '{"choices":[{"token_ids":[5]}],"other":null}',
    '{"choices":[{"text":"[5]"}],"usage":null}',
    ',"usage":null}',
    ']}]}',
  ]) {
    t.equal(keyAt(chunk), -1, chunk);
  }
  const finished = '{"choices":[{"index":0,"finish_reason":"stop","token_ids":[5]}],"usage":null}';
  t.notOk(notFinishedBefore(Buffer.from(finished), keyAt(finished)), 'a finish reason is to be found');
});
