/**
 * Finds the folder of this package at run time, because the compiled code may lie in build/, in another output folder
 * or in a release, while .proto and .sql files stay where the source is.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PACKAGE_NAME = 'sophia-fleet';

interface PackageFacts {
  readonly folder: string;
  readonly version: string;
}

let known: PackageFacts | undefined;

/** Reads the facts of the nearest package.json upwards from `folder` that carries this package's name. */
export function findPackage(folder: string): PackageFacts {
  let current = folder;
  for (;;) {
    const file = join(current, 'package.json');
    if (existsSync(file)) {
      const content = JSON.parse(readFileSync(file, 'utf8')) as { name?: unknown; version?: unknown };
      if (content.name === PACKAGE_NAME) return { folder: current, version: String(content.version) };
    }
    const parent = dirname(current);
    if (parent === current) throw new Error(`No package.json of ${PACKAGE_NAME} above ${folder}.`);
    current = parent;
  }
}

function facts(): PackageFacts {
  known ??= findPackage(dirname(fileURLToPath(import.meta.url)));
  return known;
}

/** Absolute path of the folder that holds our package.json. */
export function packageRoot(): string {
  return facts().folder;
}

/** The version of package.json, such as `0.1.0`. */
export function packageVersion(): string {
  return facts().version;
}
