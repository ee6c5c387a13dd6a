/**
 * A stand-in for nvidia-smi that lists some GPUs, for a host that has none: a shell script that prints XML in the form of
 * `nvidia-smi -q -x`, so that the agent's own reader and its sensor process do their usual work.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

function gpuXml(index: number, isEmpty: boolean): string {
  const memory = isEmpty
    ? '<used>4 MiB</used><free>81004 MiB</free>'
    : `<used>6${index}012 MiB</used><free>20995 MiB</free>`;
  const id = index.toString(16).padStart(2, '0').toUpperCase();
  return `	<gpu id="00000000:${id}:00.0">
		<product_name>NVIDIA simulated GPU</product_name>
		<uuid>GPU-00000000-0000-0000-0000-0000000000${id}</uuid>
		<persistence_mode>Enabled</persistence_mode>
		<fb_memory_usage><total>81559 MiB</total><reserved>551 MiB</reserved>${memory}</fb_memory_usage>
		<utilization><gpu_util>0 %</gpu_util><memory_util>0 %</memory_util></utilization>
		<ecc_errors><volatile><sram_correctable>0</sram_correctable><dram_correctable>0</dram_correctable></volatile></ecc_errors>
		<temperature><gpu_temp>3${index} C</gpu_temp><memory_temp>4${index} C</memory_temp></temperature>
		<gpu_power_readings><power_draw>7${index}.11 W</power_draw><instant_power_draw>7${index}.32 W</instant_power_draw></gpu_power_readings>
		<clocks><sm_clock>345 MHz</sm_clock><mem_clock>2619 MHz</mem_clock></clocks>
	</gpu>`;
}

/**
 * Writes the program into `folder` and gives a search path that finds it first.
 * @param isEmpty nothing lies in the memory of the GPUs; else engines seem to hold three quarters of it
 */
export async function fakeNvidiaSmi(
  folder: string,
  gpus: number,
  searchPath: string,
  isEmpty = false,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const xml = [
    '<?xml version="1.0" ?>',
    '<nvidia_smi_log>',
    '	<driver_version>580.65.06</driver_version>',
    `	<attached_gpus>${gpus}</attached_gpus>`,
    ...Array.from({ length: gpus }, (_, index) => gpuXml(index, isEmpty)),
    '</nvidia_smi_log>',
  ].join('\n');
  await writeFile(path.join(folder, 'log.xml'), `${xml}\n`);
  await writeFile(path.join(folder, 'nvidia-smi'), `#!/bin/sh\nexec cat '${path.join(folder, 'log.xml')}'\n`, {
    mode: 0o755,
  });
  return `${folder}${path.delimiter}${searchPath}`;
}
