/** The model that the bench brings, and whether a host has it right: every byte is read back from its disk. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import path from 'node:path';
import { COMMIT, REPOSITORY, type SourceFile, sumOf } from './source_server.ts';

const SHARDS = 4;

export function filesOf(megabytes: number): SourceFile[] {
  const each = Math.ceil((megabytes * 1e6) / SHARDS);
  const shard = (index: number): string => `model-0000${index + 1}-of-0000${SHARDS}.safetensors`;
  const shards = Array.from({ length: SHARDS }, (_, index) => ({ path: shard(index), bytes: each, seed: index + 1 }));
  return [{ path: 'config.json', bytes: 600, seed: 99 }, ...shards];
}

async function isRight(folder: string, file: SourceFile): Promise<boolean> {
  const hash = createHash('sha256');
  try {
    for await (const part of createReadStream(path.join(folder, file.path), { highWaterMark: 1 << 20 }))
      hash.update(part as Buffer);
  } catch {
    // It is not there, which is as wrong as any other bytes.
    return false;
  }
  return hash.digest('hex') === sumOf(file);
}

/** Whether all files lie in an agent's folder of models with the right bytes. */
export async function hasWhole(modelsFolder: string, files: readonly SourceFile[]): Promise<boolean> {
  const folder = path.join(modelsFolder, `${REPOSITORY.replace('/', '--')}@${COMMIT}`);
  for (const file of files) if (!(await isRight(folder, file))) return false;
  return true;
}
