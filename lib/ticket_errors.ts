/** The part of the registry of errors that speaks of tickets and of calls past the scheduler; see error_table.ts. */
import type { ErrorSpec } from './error_table.ts';

const AGAIN = 'Ask `inference.v1.Inference/Route` for a new ticket.';

const refused = (http: 401 | 403 | 410, when: string, next: string = AGAIN): ErrorSpec => ({
  http,
  grpc: http === 401 ? 'UNAUTHENTICATED' : http === 403 ? 'PERMISSION_DENIED' : 'FAILED_PRECONDITION',
  type: http === 401 ? 'authentication_error' : http === 403 ? 'permission_error' : 'invalid_request_error',
  retry: false,
  when,
  next,
});

export const TICKET_ERRORS = {
  ticket_missing: refused(401, 'A call to an agent carries no ticket.'),
  ticket_invalid: refused(
    401,
    'The ticket is malformed, forged, or signed by a key that no scheduler of this agent uses.',
  ),
  ticket_expired: refused(
    401,
    'The ticket is past its time, or the clock of its scheduler differs from that of the agent.',
  ),
  ticket_used: refused(401, 'The ticket was used before; it opens once.'),
  ticket_wrong_node: refused(
    403,
    'The ticket is for another node.',
    'Send the request to the `url` that came with the ticket.',
  ),
  ticket_wrong_request: refused(
    403,
    'The path, the model or the body of the call is not the one that the ticket is for.',
    'Send the request for which the ticket was made, byte by byte.',
  ),
  ticket_stale: refused(410, 'The life of the engine or of the listener that the ticket names is over.'),
  direct_unavailable: {
    http: 503,
    grpc: 'FAILED_PRECONDITION',
    type: 'server_error',
    retry: false,
    when: 'No engine of the model can be called past the scheduler: its agent has no direct listener.',
    next: 'Send the request to the scheduler, or set `directPort` on the agents.',
  },
} as const satisfies Record<string, ErrorSpec>;
