/**
 * The text of a prompt of about so many tokens. Blocks with the same id are the same text, so that the prefixes that a
 * trace's prompts share are shared on the wire too; all else differs from prompt to prompt. Pure.
 */
import { seededRandom } from '../../lib/rng.ts';
import type { Arrival } from './arrivals.ts';

/** Common words, each one token with a leading blank in the tokenisers of the models that people serve. */
const WORDS =
  'the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you were all her she there would their we him been has when who will no more if out so up said what its about than into them can only other time new some could these two may first then do any like my now over such our man me even most made after also did many off before must well back through years where much your way down should because long each just state those people too good very make world still see own work men here get both life being under never day same another know while last might us great old year come since against go came right used take three'.split(
    ' ',
  );

/** Numbers of the two kinds of text must not meet. */
const BLOCK_SEED = 0x5eed0000;
const OWN_SEED = 0x0badcafe;

function words(count: number, seed: number): string {
  const random = seededRandom(seed);
  let text = '';
  for (let i = 0; i < count; i++) text += ` ${WORDS[Math.floor(random.next() * WORDS.length)]}`;
  return text;
}

/** @param index of the request in its run: what is not shared depends on it */
export function promptOf(arrival: Arrival, index: number): string {
  const { inputTokens, blocks = [], blockTokens = 0 } = arrival;
  let text = '';
  let left = inputTokens;
  for (const id of blocks) {
    const tokens = Math.min(blockTokens, left);
    text += words(tokens, BLOCK_SEED ^ Math.imul(id + 1, 0x9e3779b1));
    left -= tokens;
  }
  return (text + words(left, OWN_SEED ^ Math.imul(index + 1, 0x85ebca6b))).trimStart();
}
