/**
 * Which lane of a node a request takes. Each lane leads to a relay thread of its own, and the tokens of one engine step
 * travel as one message a lane: requests of one engine on one lane cost half the messages, and half the wake-ups at both
 * ends, of requests spread over two. They are spread once a lane has much more to carry than another.
 */
import type { LaneHandle } from '../../ports.ts';

/**
 * Requests by which a lane may be fuller than the emptiest before an engine's requests go elsewhere. Measured with
 * `npm run bench -- relay` (1000x20), a relay thread spends 15 us on a token: 256 streams of 50 tokens a second are a
 * fifth of what it can do.
 */
const SLACK_REQUESTS = 256;

/** @param engine its name on the node; undefined when there is no lane */
export function chooseLane(lanes: Iterable<LaneHandle>, engine: string): LaneHandle | undefined {
  let least: LaneHandle | undefined;
  let own: LaneHandle | undefined;
  let most = 0;
  for (const lane of lanes) {
    if (least === undefined || lane.load < least.load) least = lane;
    const count = lane.loadOf(engine);
    if (count <= most) continue;
    most = count;
    own = lane;
  }
  return own !== undefined && own.load <= (least?.load ?? 0) + SLACK_REQUESTS ? own : least;
}
