/**
 * The error shapes that vLLM's HTTP API answers with, in one place, so that every route refuses in the same words.
 */

/** An error that becomes an HTTP answer `{"error":{message,type,param,code}}` with status `status`. */
export class ApiError extends Error {
  readonly status: number;
  readonly param: string | null;

  constructor(status: number, message: string, param: string | null = null) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.param = param;
  }
}

/** vLLM's message once its engine core is known to be dead. */
export const ENGINE_DEAD_MESSAGE = 'EngineCore encountered an issue. See stack trace (above) for the root cause.';

/** vLLM's message for a request that arrives while it drains. */
export const DRAINING_MESSAGE = 'cannot schedule new futures after shutdown';

const TYPE_BY_STATUS: Readonly<Record<number, string>> = {
  400: 'BadRequestError',
  401: 'AuthenticationError',
  404: 'NotFoundError',
  413: 'BadRequestError',
  415: 'BadRequestError',
  500: 'InternalServerError',
  501: 'NotImplementedError',
  503: 'ServiceUnavailableError',
};

/** The JSON text of an error body; also what a stream carries in its `data:` frame. */
export function errorJson(status: number, message: string, param: string | null = null): string {
  const type = TYPE_BY_STATUS[status] ?? (status < 500 ? 'BadRequestError' : 'InternalServerError');
  return JSON.stringify({ error: { message, type, param, code: status } });
}
