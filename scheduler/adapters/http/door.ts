/**
 * The HTTP door of a scheduler: OpenAI's routes, the WebSocket chat, health, metrics and the API description on one
 * port. It knows a Generator, a FleetView and an Authenticator, and nothing of engines.
 */
import type { AddressInfo } from 'node:net';
import { CodedError } from '../../../lib/errors.ts';
import { createActiveAnswers } from './active.ts';
import { buildApp } from './app.ts';
import { HTTP_DOOR_DEFAULTS, type HttpDoor, type HttpDoorDeps, type HttpDoorOptions } from './options.ts';
import { createWsChats } from './ws_route.ts';

/** Creates the door; nothing listens before `listen()`. */
export function createHttpDoor(deps: HttpDoorDeps): HttpDoor {
  const options: HttpDoorOptions = { ...HTTP_DOOR_DEFAULTS, ...deps.options };
  const active = createActiveAnswers(
    {
      windowBytes: options.clientWindowBytes,
      coalesceMs: options.coalesceMs,
      pingIntervalMs: options.pingIntervalMs,
      stallTimeoutMs: options.stallTimeoutMs,
    },
    deps.clock,
    deps.metrics,
  );
  const wsChats = createWsChats();
  let isDraining = false;
  let app: Awaited<ReturnType<typeof buildApp>> | undefined;

  return {
    async listen() {
      const built = await buildApp({ deps, options, active, wsChats, isDraining: () => isDraining });
      built.server.maxConnections = options.maxConnections;
      const dropped = deps.metrics.counter('dropped_total');
      built.server.on('drop', () => dropped.inc({ where: 'http_connections' }));
      try {
        await built.listen({ host: options.host, port: options.port });
      } catch (thrown) {
        active.close();
        await built.close();
        if ((thrown as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw thrown;
        const message = `HTTP cannot listen on ${options.host}:${options.port}, because the address is taken.`;
        throw new CodedError('address_in_use', message, { cause: thrown });
      }
      app = built;
      const { port } = built.server.address() as AddressInfo;
      return { port };
    },
    drain() {
      isDraining = true;
      wsChats.drain();
      app?.server.closeIdleConnections();
    },
    async idle() {
      await Promise.all([active.idle(), wsChats.idle()]);
    },
    async close() {
      isDraining = true;
      active.close();
      wsChats.close();
      const closing = app?.close();
      app?.server.closeAllConnections();
      await closing;
    },
  };
}
