/**
 * Engines of a replica over several hosts, as their agents see them. A member with `--headless` has no door: its process is
 * all that can be looked at, and whether the replica answers is found out at its leader, on another host.
 */

/** vLLM's flag for a process that computes and serves nobody. */
const HEADLESS = '--headless';
const SIZE = '--nnodes';

export const isHeadless = (args: readonly string[]): boolean => args.includes(HEADLESS);

/** Whether the engine is one of several that speak to each other. */
export const isMember = (args: readonly string[]): boolean =>
  args.some((arg) => arg === SIZE || arg.startsWith(`${SIZE}=`));

/** As of os.networkInterfaces(). */
export type Interfaces = Readonly<
  Record<
    string,
    readonly { readonly address: string; readonly family: string; readonly internal: boolean }[] | undefined
  >
>;

const LINK_LOCAL = /^(?:169\.254\.|fe[89ab])/i;

/** The address at which other hosts most likely reach this one; a host without a network reaches only itself. */
export function likelyAddress(interfaces: Interfaces): string {
  const all = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  const outside = all.filter(({ internal, address }) => !internal && !LINK_LOCAL.test(address));
  const found = outside.find(({ family }) => family === 'IPv4') ?? outside[0];
  return found?.address ?? '127.0.0.1';
}
