/**
 * The system's SHA-256, for the pure code that takes it as a port.
 */
import { hash } from 'node:crypto';
import type { Sha256 } from '../../core/access/keys.ts';

export const sha256: Sha256 = (bytes) => hash('sha256', bytes, 'buffer');
