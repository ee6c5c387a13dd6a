/**
 * The gate before every gRPC method, as an interceptor of the server: it runs once per call, on the headers, before any
 * byte of a body is read, so a stranger cannot make this process take a message. Who may call what is the table of
 * core/access/doors.ts; a method that is not in it stays shut.
 */
import {
  type Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
} from '@grpc/grpc-js';
import type { Logger } from '../../../lib/io/logger.ts';
import { findDoor, requireDoor } from '../../core/access/doors.ts';
import type { Authenticator, Identity } from '../../ports.ts';
import { statusFor } from './grpc_errors.ts';

export interface GrpcGateDeps {
  readonly authenticator: Authenticator;
  readonly logger: Logger;
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
