/** The node has GPUs of a model that the deployment names. */
import type { NodeFilter } from './filter.ts';

export const gpuModel: NodeFilter = {
  by: 'gpu_model',
  refuses({ gpus }, { gpuModels, gpusPerHost }) {
    if (gpuModels === undefined || gpusPerHost === 0 || gpus.some(({ model }) => gpuModels.includes(model)))
      return undefined;
    return { by: 'gpu_model', wanted: gpuModels, found: [...new Set(gpus.map(({ model }) => model))] };
  },
};
