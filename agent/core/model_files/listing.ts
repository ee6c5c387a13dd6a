/**
 * Which files make up a model, from what a source lists. A listing comes from outside, so each name is checked before it
 * becomes a path, and counts and sizes are bounded. Of a hub's repository only what an engine loads is taken: repositories
 * carry the same weights in several formats, and fetching all of them would multiply the bytes.
 */
import { isSafePath } from './source.ts';

/** By what a file is judged once it is there; absent: only by its size and its ETag. */
export type Check =
  | { readonly kind: 'sha256'; readonly hex: string }
  /** Git's name of a blob: SHA-1 over `blob SIZE NUL` and the content. The hub gives it for files outside of LFS. */
  | { readonly kind: 'git'; readonly hex: string };

export interface FileEntry {
  readonly path: string;
  /** Absent: found out by the first request. */
  readonly bytes?: number;
  readonly check?: Check;
  /** As the listing gave it. */
  readonly etag?: string;
  readonly url: string;
}

export interface Listing {
  /** What the source stands for at present: a commit of the hub, or a digest of the listing; empty: nothing better is known. */
  readonly resolved: string;
  readonly files: readonly FileEntry[];
}

export const MAX_FILES = 4096;
/** Beyond any model: 64 TiB. */
const MAX_FILE_BYTES = 2 ** 46;

/** What is wrong with a listing; undefined: nothing. */
export function complainOfListing(files: readonly Pick<FileEntry, 'path' | 'bytes'>[]): string | undefined {
  if (files.length === 0) return 'The source lists no file that an engine would load.';
  if (files.length > MAX_FILES) return `The source lists more than ${MAX_FILES} files.`;
  const names = new Set<string>();
  for (const { path, bytes } of files) {
    if (!isSafePath(path)) return 'The source lists a name that is no relative path.';
    if (names.has(path)) return 'The source lists a file twice.';
    if (bytes !== undefined && !(Number.isInteger(bytes) && bytes >= 0 && bytes <= MAX_FILE_BYTES))
      return 'The source lists a file with a size that cannot be.';
    names.add(path);
  }
  const clash = [...names].find((name) =>
    name.split('/').some((_, i, s) => i > 0 && names.has(s.slice(0, i).join('/'))),
  );
  return clash === undefined ? undefined : 'The source lists a file below another file.';
}

/** Copies of the weights that no engine of this fleet loads when safetensors are there, and what never is loaded. */
const OTHER_WEIGHTS = /\.(?:bin|pt|pth|h5|msgpack|ot|onnx|onnx_data|tflite|ckpt|safetensors\.index\.fp32\.json)$/i;
const NEVER =
  /^(?:\.git|\.gitattributes$|onnx\/|coreml\/|openvino\/|flax_model|tf_model|rust_model|runs\/)|\.(?:png|jpe?g|gif|mp4|pdf)$/i;
const SPLIT = /^(.*)-\d{5}-of-(\d{5})\.gguf$/i;

/** The siblings of a split GGUF file are one file to an engine. */
const splitOf = (path: string): string => {
  const match = SPLIT.exec(path);
  return match === null ? path : `${match[1]} of ${match[2]}`;
};

/**
 * Of a repository's files those that an engine loads.
 * @param within a folder or a file of the repository, which then lies at the top; empty: the whole repository
 */
export function chooseFiles<Entry extends { readonly path: string }>(
  files: readonly Entry[],
  within: string,
): readonly Entry[] {
  if (within !== '') {
    const split = splitOf(within);
    const named = files.filter(({ path }) => path === within || splitOf(path) === split);
    const top = named.length > 0 ? within.split('/').slice(0, -1).join('/') : within;
    const below = named.length > 0 ? named : files.filter(({ path }) => path.startsWith(`${within}/`));
    return below.map((entry) => ({ ...entry, path: top === '' ? entry.path : entry.path.slice(top.length + 1) }));
  }
  const useful = files.filter(({ path }) => !NEVER.test(path));
  const tensors = useful.filter(({ path }) => path.endsWith('.safetensors'));
  if (!tensors.some(({ path }) => !path.includes('/'))) return useful;
  // Mistral's own form beside the hub's: vLLM takes the hub's where both are there.
  const both = tensors.some(({ path }) => /^model[-.]/.test(path));
  return useful.filter(
    ({ path }) =>
      !OTHER_WEIGHTS.test(path) && !path.startsWith('original/') && !(both && /^consolidated[-.]/.test(path)),
  );
}

const SUMS_LINE = /^([0-9a-f]{64})[ \t][ *]?(.+)$/i;

/** The file of checksums that a folder of HTTPS or S3 carries, in the form of sha256sum of GNU coreutils. */
export const SUMS_FILE = 'SHA256SUMS';

/** Names and sums; undefined when a line has not that form. Comments and empty lines are passed over. */
export function parseSums(text: string): Readonly<Record<string, string>> | undefined {
  const sums: [string, string][] = [];
  for (const line of text.split('\n').map((one) => one.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const match = SUMS_LINE.exec(line);
    if (match === null || sums.length >= MAX_FILES) return undefined;
    sums.push([(match[2] as string).replace(/^\.\//, ''), (match[1] as string).toLowerCase()]);
  }
  return Object.fromEntries(sums);
}

/** Which of the files an engine is given: the one that `model` names, the only GGUF of a llama engine, or the folder. */
export function enginePath(
  folder: string,
  files: readonly string[],
  wanted: { readonly kind: string; readonly model: string },
): string {
  // A source that is one file lies at its own path.
  if (folder.endsWith('.gguf')) return folder;
  const name = wanted.model.split('/').at(-1) as string;
  const named = files.find((path) => path === wanted.model) ?? files.find((path) => path === name);
  if (named?.endsWith('.gguf') === true) return `${folder}/${named}`;
  const ggufs = files.filter((path) => path.endsWith('.gguf')).toSorted();
  const first = ggufs[0];
  const isOne = new Set(ggufs.map(splitOf)).size === 1;
  const wantsFile = wanted.kind === 'llama' || (wanted.kind === 'vllm' && !files.includes('config.json'));
  return wantsFile && isOne && first !== undefined ? `${folder}/${first}` : folder;
}
