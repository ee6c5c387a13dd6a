/**
 * Stands before every HTTP route: looks the route up in the table of doors when it is registered, and asks for the
 * identity that the table demands when it is called. A route without an entry cannot be registered.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { Metrics } from '../../../lib/io/metrics.ts';
import { doorById, findDoor, requireDoor } from '../../core/access/doors.ts';
import type { Authenticator, Identity } from '../../ports.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls; undefined on doors that ask for nobody. */
    identity: Identity | undefined;
  }
  interface FastifyContextConfig {
    /** Id in the table of doors; set when the route is registered. */
    doorId?: string;
  }
}

/** The name of the WebSocket protocol, and the prefix of the subprotocol that carries a browser's key. */
export const WS_PROTOCOL = 'sophia.v1';
export const WS_KEY_PREFIX = 'sophia.key.';

/** The `authorization` value of a call: the header, or for a browser's WebSocket the key among the subprotocols. */
export function credentialOf(request: FastifyRequest, allowSubprotocol: boolean): string | undefined {
  const { authorization } = request.headers;
  if (authorization !== undefined || !allowSubprotocol) return authorization;
  const offered = request.headers['sec-websocket-protocol']?.split(',').map((word) => word.trim()) ?? [];
  const key = offered.find((word) => word.startsWith(WS_KEY_PREFIX));
  return key === undefined ? undefined : `Bearer ${key.slice(WS_KEY_PREFIX.length)}`;
}

export interface Gate {
  /** @throws CodedError unauthenticated, too_many_failures; counts the failure */
  authenticate(authorization: string | undefined, peer: string): Promise<Identity>;
}

export function createGate(authenticator: Authenticator, metrics: Metrics): Gate {
  const failures = metrics.counter('auth_failures_total');
  return {
    async authenticate(authorization, peer) {
      try {
        return await authenticator.authenticate(authorization, peer);
      } catch (thrown) {
        const error = toCodedError(thrown);
        failures.inc({ door: 'http', reason: error.code });
        throw error;
      }
    },
  };
}

/** Installs the gate; must come before any route is registered. `onRoute` is told of every route that is. */
export function installGate(app: FastifyInstance, gate: Gate, onRoute?: (method: string, url: string) => void): void {
  app.decorateRequest('identity', undefined);
  app.addHook('onRoute', (route) => {
    const methods = Array.isArray(route.method) ? route.method : [route.method];
    for (const method of methods) {
      // HEAD and OPTIONS tell nothing that GET does not, and pass the same gate.
      const asked = method === 'POST' ? 'POST' : 'GET';
      const door = findDoor('http', route.url, asked);
      if (door === undefined) throw new Error(`Route ${method} ${route.url} is not in the table of doors.`);
      route.config = { ...route.config, doorId: door.id };
      onRoute?.(method, route.url);
    }
  });
  app.addHook('onRequest', async (request) => {
    if (request.is404) return;
    const { doorId } = request.routeOptions.config;
    if (doorId === undefined) throw new CodedError('permission_denied', 'This way in is not listed and stays shut.');
    const door = doorById(doorId);
    // Node hands every upgrade over with its body unread: nothing but the WebSocket route can go on with one.
    if (request.ws && door.credential !== 'bearer_or_socket') {
      throw new CodedError('malformed_request', 'This path takes no upgrade; send plain HTTP/1.1.');
    }
    if (door.roles.length === 0) return;
    const bySocket = door.credential === 'bearer_or_socket';
    const credential = credentialOf(request, bySocket);
    // A WebSocket may bring its key in the first message; its handler lets nothing happen before.
    if (bySocket && credential === undefined && request.headers.upgrade !== undefined) return;
    request.identity = await gate.authenticate(credential, request.ip);
    requireDoor(request.identity, door.id);
  });
}
