/** Coded errors as gRPC statuses and back: nothing a caller should know is lost, and foreign statuses get a code. */
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import fc from 'fast-check';
import t from 'tap';
import { CodedError, type ErrorCode, ERRORS } from '../../lib/errors.ts';
import { googleRpc } from '../../proto/load.ts';
import {
  decodeStatus,
  encodeStatus,
  ERROR_DOMAIN,
  fromServiceError,
  STATUS_DETAILS_KEY,
  toStatusObject,
} from '../../proto/status.ts';

t.test('every code of the registry comes back with its details', async () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...(Object.keys(ERRORS) as ErrorCode[])),
      fc.string({ maxLength: 200, unit: 'grapheme' }),
      fc.record(
        { param: fc.string({ minLength: 1 }), retryAfterMs: fc.nat({ max: 10_000_000 }) },
        { requiredKeys: [] },
      ),
      fc.option(fc.string({ minLength: 1 }), { nil: undefined }),
      (code, message, details, requestId) => {
        const { error, requestId: gotId } = decodeStatus(
          encodeStatus(new CodedError(code, message, details), requestId),
        );
        t.equal(error.code, code);
        t.equal(error.message, message);
        t.equal(error.param, details.param);
        t.equal(error.retryAfterMs, details.retryAfterMs);
        t.equal(gotId, requestId);
      },
    ),
    { numRuns: 200 },
  );
});

t.test('the status is what google.rpc describes', async (t) => {
  const { code, details, metadata } = toStatusObject(
    new CodedError('overloaded', 'Full.', { retryAfterMs: 1500 }),
    'r1',
  );
  t.equal(code, status.RESOURCE_EXHAUSTED);
  t.equal(details, 'Full.');
  t.same(metadata.get('x-request-id'), ['r1']);
  const rpcStatus = googleRpc.Status.deserialize(metadata.get(STATUS_DETAILS_KEY)[0] as Buffer);
  t.match(rpcStatus, { code: 8, message: 'Full.' });
  const [info, retry] = rpcStatus.details as { type_url: string; value: Buffer }[];
  t.equal(info?.type_url, 'type.googleapis.com/google.rpc.ErrorInfo');
  const expected = { reason: 'overloaded', domain: ERROR_DOMAIN, metadata: { request_id: 'r1' } };
  t.match(googleRpc.ErrorInfo.deserialize(info?.value as Buffer), expected);
  t.equal(retry?.type_url, 'type.googleapis.com/google.rpc.RetryInfo');
  t.match(googleRpc.RetryInfo.deserialize(retry?.value as Buffer), { retryDelay: { seconds: 1, nanos: 500_000_000 } });
});

t.test('a long message is cut, because trailers are headers', async (t) => {
  const { details, metadata } = toStatusObject(new CodedError('engine_rejected', 'x'.repeat(100_000)));
  t.ok(details.length < 1100);
  t.ok((metadata.get(STATUS_DETAILS_KEY)[0] as Buffer).length < 1300);
});

const failure = (code: status, details: string, bytes?: Buffer): ServiceError => {
  const metadata = new Metadata();
  if (bytes !== undefined) metadata.set(STATUS_DETAILS_KEY, bytes);
  return Object.assign(new Error(details), { code, details, metadata });
};

t.test('a status that is not ours gets the code that fits its number', async (t) => {
  const cases: [status, ErrorCode][] = [
    [status.UNAVAILABLE, 'unreachable'],
    [status.DEADLINE_EXCEEDED, 'deadline_exceeded'],
    [status.UNIMPLEMENTED, 'protocol_mismatch'],
    [status.DATA_LOSS, 'internal'],
  ];
  for (const [code, expected] of cases) {
    const { error } = fromServiceError(failure(code, 'why'));
    t.equal(error.code, expected);
    t.equal(error.message, 'why');
  }
  const foreign = googleRpc.ErrorInfo.serialize({ reason: 'overloaded', domain: 'elsewhere.example' });
  const details = [{ type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value: foreign }];
  t.equal(decodeStatus(googleRpc.Status.serialize({ code: 5, message: 'm', details })).error.code, 'not_found');
  const unknown = googleRpc.ErrorInfo.serialize({ reason: 'constructor', domain: ERROR_DOMAIN });
  const more = [{ type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value: unknown }];
  t.equal(
    decodeStatus(googleRpc.Status.serialize({ code: 16, message: 'm', details: more })).error.code,
    'unauthenticated',
  );
});

t.test('broken details never throw at a client', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const { error } = fromServiceError(failure(status.UNAVAILABLE, 'why', Buffer.from(bytes)));
      t.ok(error instanceof CodedError);
    }),
    { numRuns: 300 },
  );
  t.throws(() => decodeStatus(Buffer.from([0x4f, 0x7f])), RangeError);
});
