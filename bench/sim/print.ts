/** The fleet simulator's tables for a person. */
import { alignRows } from '../relay/print.ts';
import type { Cell, Standing } from './cells.ts';
import type { FigureName, Interval } from './fleet/figures.ts';

const number = (value: number, digits: number): string => (Number.isNaN(value) ? '-' : value.toFixed(digits));

function withInterval({ mean, plusMinus }: Interval, digits: number): string {
  return plusMinus === 0 ? number(mean, digits) : `${number(mean, digits)} ±${number(plusMinus, digits)}`;
}

const COLUMNS: readonly (readonly [FigureName, heading: string, digits: number])[] = [
  ['ttftMeanS', 'TTFT mean s', 3],
  ['ttftP50S', 'p50', 3],
  ['ttftP90S', 'p90', 3],
  ['ttftP99S', 'p99', 3],
  ['tpotMs', 'TPOT ms', 1],
  ['outTokS', 'out tok/s', 0],
  ['goodput', 'goodput', 3],
  ['hitRate', 'hit rate', 3],
  ['imbalance', 'imbalance', 3],
  ['refused', 'refused', 0],
  ['moved', 'moved', 0],
];

export function cellsTable(cells: readonly Cell[]): string {
  const headings = ['policy', 'load', ...COLUMNS.map(([, heading]) => heading)];
  const scalings = new Set(cells.map(({ scaling }) => scaling));
  return [...scalings]
    .map((scaling) => {
      const rows = cells
        .filter((cell) => cell.scaling === scaling)
        .map((cell) => [
          cell.policy,
          String(cell.load),
          ...COLUMNS.map(([name, , digits]) => withInterval(cell.figures[name], digits)),
        ]);
      const title = scalings.size > 1 ? `engines: ${scaling}\n` : '';
      return title + alignRows([headings, ...rows]);
    })
    .join('\n\n');
}

export function standingsTable(all: readonly Standing[]): string {
  const rows = all.map(({ load, scaling, figure, baseline, baselineMean, mean, difference, verdict }) => [
    `${load} ${scaling}`,
    figure,
    number(mean, 3),
    baseline,
    number(baselineMean, 3),
    withInterval(difference, 3),
    verdict,
  ]);
  return alignRows([['load', 'figure', 'default', 'best baseline', 'its', 'difference', 'the default is'], ...rows]);
}
