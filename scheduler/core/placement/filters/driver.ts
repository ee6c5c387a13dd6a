/** The node's GPU driver is at least the one that the engine needs. */
import { compareVersions } from '../requirements.ts';
import type { NodeFilter } from './filter.ts';

export const driver: NodeFilter = {
  by: 'driver',
  refuses: (node, { minDriverVersion }) =>
    minDriverVersion === undefined ||
    (node.driverVersion !== undefined && compareVersions(node.driverVersion, minDriverVersion) >= 0)
      ? undefined
      : { by: 'driver', wanted: minDriverVersion, found: node.driverVersion },
};
