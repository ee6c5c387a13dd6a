/**
 * The gate before every gRPC method, as an interceptor of the server: it runs once per call, on the headers, before any
 * byte of a body is read, so a stranger cannot make this process take a message. Who may call what is the table of
 * core/access/doors.ts; a method that is not in it stays shut.
 */
import {
  Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  ServerListenerBuilder,
  status,
} from '@grpc/grpc-js';
import { CodedError } from '../../../lib/errors.ts';
import { newRequestId } from '../../../lib/ids.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import { STATUS_DETAILS_KEY, toStatusObject } from '../../../proto/status.ts';
import { findDoor, requireDoor } from '../../core/access/doors.ts';
import type { Authenticator, Identity } from '../../ports.ts';
import { statusFor } from './grpc_errors.ts';

export interface GrpcGateDeps {
  readonly authenticator: Authenticator;
  readonly logger: Logger;
  readonly random: RandomSource;
}

/** What the gRPC library refuses by itself, in our codes: only its words tell which of its reasons it was. */
const LIBRARY_REFUSALS: readonly (readonly [code: status, words: RegExp, means: CodedError])[] = [
  [status.RESOURCE_EXHAUSTED, /larger than max/i, new CodedError('body_too_large', 'The message exceeds the limit.')],
  [
    status.INTERNAL,
    /deserializ/i,
    new CodedError('malformed_request', 'The message is not the one that this method takes.'),
  ],
];

type PartialStatusObject = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

/** Gives every failed status its ErrorInfo and a request id, also those that the library makes itself. */
function completeStatus(sent: PartialStatusObject, requestId: string): PartialStatusObject {
  if (sent.code === status.OK) return sent;
  const metadata = sent.metadata ?? new Metadata();
  const refusal = LIBRARY_REFUSALS.find(([code, words]) => code === sent.code && words.test(sent.details));
  if (metadata.get(STATUS_DETAILS_KEY).length === 0 && refusal !== undefined)
    return toStatusObject(refusal[2], requestId);
  if (metadata.get('x-request-id').length === 0) metadata.set('x-request-id', requestId);
  return { ...sent, metadata };
}

export interface GrpcGate {
  readonly interceptor: ServerInterceptor;
  /** Who makes this call; only for methods whose door asks for an identity. */
  identityOf(call: { readonly metadata: Metadata }): Identity;
}

/** The remote address of `getPeer()`, which is `address:port`. */
export function peerAddress(peer: string): string {
  return peer.replace(/:\d+$/, '');
}

/** The credential is taken out of the metadata once it was looked at, so that nothing behind the gate can log it. */
function takeCredential(metadata: Metadata): string | undefined {
  const [value] = metadata.get('authorization');
  metadata.remove('authorization');
  return typeof value === 'string' ? value : undefined;
}

export function createGrpcGate(deps: GrpcGateDeps): GrpcGate {
  const identities = new WeakMap<Metadata, Identity>();
  const interceptor: ServerInterceptor = (method, call) => {
    // The library ends a call that it refuses on the innermost object, past every interceptor: so it is met there.
    const sendStatus = call.sendStatus.bind(call);
    call.sendStatus = (sent) => sendStatus(completeStatus(sent, newRequestId(deps.random)));
    const door = findDoor('grpc', method.path.slice(1), 'RPC');
    if (door !== undefined && door.roles.length === 0) return new ServerInterceptingCall(call);
    const admitCall = async (metadata: Metadata, next: (metadata: Metadata) => void): Promise<void> => {
      try {
        const identity = await deps.authenticator.authenticate(takeCredential(metadata), peerAddress(call.getPeer()));
        requireDoor(identity, door?.id ?? method.path);
        identities.set(metadata, identity);
      } catch (error) {
        call.sendStatus(statusFor(deps.logger, error));
        return;
      }
      next(metadata);
    };
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => void admitCall(metadata, next))
      .build();
    return new ServerInterceptingCall(call, new ResponderBuilder().withStart((next) => next(listener)).build());
  };
  return {
    interceptor,
    identityOf(call) {
      const identity = identities.get(call.metadata);
      if (identity === undefined) throw new Error('The identity of a call was asked for behind an open door.');
      return identity;
    },
  };
}

/** @throws Error when a method has no door: it would answer nobody, which is a mistake of the program. */
export function checkDoors(paths: readonly string[]): void {
  for (const path of paths) {
    const door = findDoor('grpc', path.slice(1), 'RPC');
    if (door === undefined) throw new Error(`The gRPC method ${path} is not in the table of doors.`);
  }
}
