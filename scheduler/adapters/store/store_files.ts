/** Where the store's files lie in a scheduler's data folder: one list for the scheduler, the command line and the docs. */
import path from 'node:path';

export interface StoreFiles {
  /** Folder of the embedded database. */
  readonly database: string;
  /** Secret of the log's MAC. */
  readonly logKey: string;
  /** Private key that signs anchors; its public half has .pub behind the name. */
  readonly anchorKey: string;
  readonly anchors: string;
}

export function storeFiles(dataDir: string): StoreFiles {
  const inside = (name: string): string => path.join(dataDir, name);
  return {
    database: inside('store'),
    logKey: inside('log.key'),
    anchorKey: inside('anchors.key'),
    anchors: inside('anchors.jsonl'),
  };
}
