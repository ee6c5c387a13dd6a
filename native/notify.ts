/** The addon's sd_notify for whoever speaks to systemd, in both processes. */
import { loadNative } from './contract.ts';

/**
 * The addon's call, or undefined where there is no addon that works on this machine.
 * @param onUnusable told when the addon is there but cannot be loaded
 */
export function nativeNotify(
  onUnusable: (error: unknown) => void,
): ((path: string, message: string) => void) | undefined {
  try {
    const load = loadNative();
    return load.kind === 'loaded' ? load.native.notify : undefined;
  } catch (error) {
    onUnusable(error);
    return undefined;
  }
}
