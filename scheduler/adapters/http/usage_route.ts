/** `GET /admin/v1/usage`: what was used, also where there is no store for anything else below /admin. */
import type { FastifyInstance } from 'fastify';
import { CodedError } from '../../../lib/errors.ts';
import type { UsageOperations } from '../../core/usage/contract.ts';
import { adminSchemas } from './admin_openapi.ts';
import { queryOf, wholeIn } from './admin_routes.ts';

export function registerUsageRoute(app: FastifyInstance, usage: UsageOperations | undefined): void {
  app.route({
    method: 'GET',
    url: '/admin/v1/usage',
    schema: adminSchemas().usage,
    handler: async (request, reply) => {
      if (usage === undefined) throw new CodedError('store_off', 'This scheduler accounts no usage.');
      const query = queryOf(request);
      const sinceMs = wholeIn(query, 'since');
      const untilMs = wholeIn(query, 'until');
      const span = { ...(sinceMs === undefined ? {} : { sinceMs }), ...(untilMs === undefined ? {} : { untilMs }) };
      return reply
        .header('content-type', 'application/json; charset=utf-8')
        .header('cache-control', 'no-store')
        .send(JSON.stringify(await usage.list({ by: query['by'] ?? '', ...span })));
    },
  });
}
