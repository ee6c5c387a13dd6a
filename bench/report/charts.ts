/** Plots as inline SVG: lines over an axis, and bars in rows. No library draws them, so a report carries no script. Pure. */
import { html, type Markup } from './markup.ts';

export type Point = readonly [x: number, y: number];

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface LineChart {
  readonly title: string;
  readonly yUnit: string;
  readonly series: readonly Series[];
  readonly xTicks?: readonly (readonly [x: number, label: string])[];
  readonly xUnit?: string;
  /** A logarithmic axis, for values that span orders of magnitude. */
  readonly logY?: boolean;
}

const WIDTH = 760;
const HEIGHT = 240;
const PLOT = { left: 62, right: 12, top: 26, bottom: 34 } as const;
const COLOURS = 7;
const TICKS = 5;
/** Points beyond what a screen shows only make the file larger. */
const MAX_POINTS = 1500;

const colour = (at: number): string => `var(--s${at % COLOURS})`;
const fixed = (value: number): string => value.toFixed(1);

/** A round step of 1, 2 or 5 times a power of ten, so that about `ticks` of them cover the range. */
export function niceStep(range: number, ticks: number): number {
  if (!(range > 0)) return 1;
  const rough = range / ticks;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5].find((candidate) => rough <= candidate * power) ?? 10;
  return factor * power;
}

/** A value as an axis shows it. */
export function axisLabel(value: number): string {
  if (Math.abs(value) >= 10_000) return `${Number((value / 1000).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}

interface Scale {
  readonly ticks: readonly number[];
  /** Where a value lies, 0 to 1. */
  at(value: number): number;
}

function linearScale(low: number, high: number): Scale {
  const step = niceStep(high - low, TICKS);
  const top = Math.max(low + step, Math.ceil(high / step - 1e-9) * step);
  const count = Math.round((top - low) / step);
  return {
    ticks: Array.from({ length: count + 1 }, (_, i) => low + i * step),
    at: (value) => (value - low) / (top - low),
  };
}

function logScale(values: readonly number[]): Scale {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...positive, 1)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive, 1))));
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
    at: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low),
  };
}

function thinned(points: readonly Point[]): Point[] {
  const finite = points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  const step = Math.ceil(finite.length / MAX_POINTS);
  return step <= 1 ? finite : finite.filter((_, at) => at % step === 0 || at === finite.length - 1);
}

function legend(names: readonly string[]): Markup[] {
  let x: number = PLOT.left;
  return names.map((name, at) => {
    const left = x;
    x += 26 + name.length * 6.5;
    return html`<rect x="${fixed(left)}" y="6" width="10" height="10" rx="2" fill="${colour(at)}"></rect>
<text class="label" x="${fixed(left + 15)}" y="15">${name}</text>\n`;
  });
}

const figure = (title: string, height: number, content: readonly Markup[]): Markup =>
  html`<figure><figcaption>${title}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}">
${content}</svg></figure>\n`;

export function lineChart(chart: LineChart): Markup {
  const series = chart.series.map(({ name, points }) => ({ name, points: thinned(points) }));
  const xs = series.flatMap(({ points }) => points.map(([x]) => x));
  const ys = series.flatMap(({ points }) => points.map(([, y]) => y));
  if (xs.length === 0)
    return html`<figure><figcaption>${chart.title}</figcaption><p class="dim">nothing to draw</p></figure>\n`;
  const [xLow, xHigh] = [Math.min(...xs), Math.max(...xs)];
  const y = chart.logY === true ? logScale(ys) : linearScale(0, Math.max(...ys));
  const x = chart.xTicks === undefined ? linearScale(xLow, xHigh) : { at: spanOf(xLow, xHigh), ticks: [] };
  const px = (value: number): number => PLOT.left + x.at(value) * (WIDTH - PLOT.left - PLOT.right);
  const py = (value: number): number => HEIGHT - PLOT.bottom - y.at(value) * (HEIGHT - PLOT.top - PLOT.bottom);
  const shownTicks = chart.xTicks?.filter(([at]) => at >= xLow && at <= xHigh);
  const xTicks = shownTicks ?? x.ticks.map((at) => [at, `${axisLabel(at)}${chart.xUnit ?? ''}`] as const);
  return figure(chart.title, HEIGHT, [
    ...legend(series.map(({ name }) => name)),
    ...y.ticks.map(
      (
        at,
      ) => html`<line class="axis" x1="${PLOT.left}" x2="${WIDTH - PLOT.right}" y1="${fixed(py(at))}" y2="${fixed(py(at))}"></line>
<text x="${PLOT.left - 6}" y="${fixed(py(at) + 4)}" text-anchor="end">${axisLabel(at)} ${chart.yUnit}</text>\n`,
    ),
    ...xTicks.map(
      ([at, label]) => html`<text x="${fixed(px(at))}" y="${HEIGHT - 12}" text-anchor="middle">${label}</text>\n`,
    ),
    ...series.map(({ name, points }, at) => {
      const path = points.map(([px0, py0]) => `${fixed(px(px0))},${fixed(py(py0))}`).join(' ');
      return html`<polyline points="${path}" fill="none" stroke="${colour(at)}" stroke-width="1.8"><title>${name}</title></polyline>\n`;
    }),
  ]);
}

const spanOf =
  (low: number, high: number) =>
  (value: number): number =>
    high === low ? 0.5 : (value - low) / (high - low);

export interface BarRow {
  readonly label: string;
  /** Parts of one bar, one behind the other; their names are the legend. */
  readonly parts: readonly (readonly [name: string, value: number])[];
}

export interface BarChart {
  readonly title: string;
  readonly unit: string;
  readonly rows: readonly BarRow[];
}

const ROW_HEIGHT = 24;
const LABEL_WIDTH = 210;
const VALUE_WIDTH = 90;

export function barChart(chart: BarChart): Markup {
  const names = [...new Set(chart.rows.flatMap(({ parts }) => parts.map(([name]) => name)))];
  const totals = chart.rows.map(({ parts }) => parts.reduce((sum, [, value]) => sum + finite(value), 0));
  const most = Math.max(...totals, Number.MIN_VALUE);
  const perUnit = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / most;
  const top = names.length > 1 ? PLOT.top : 4;
  const rows = chart.rows.map(({ label, parts }, row) => {
    const y = top + row * ROW_HEIGHT;
    let x = LABEL_WIDTH;
    const bars = parts.map(([name, value]) => {
      const left = x;
      const width = finite(value) * perUnit;
      x += width;
      return html`<rect x="${fixed(left)}" y="${y + 3}" width="${fixed(width)}" height="${ROW_HEIGHT - 8}" rx="2" fill="${colour(names.indexOf(name))}"><title>${name}: ${axisLabel(value)} ${chart.unit}</title></rect>`;
    });
    return html`<text class="label" x="${LABEL_WIDTH - 8}" y="${y + 16}" text-anchor="end">${label}</text>${bars}
<text x="${fixed(x + 6)}" y="${y + 16}">${axisLabel(totals[row] as number)} ${chart.unit}</text>\n`;
  });
  return figure(chart.title, top + chart.rows.length * ROW_HEIGHT + 6, [
    ...(names.length > 1 ? legend(names) : []),
    ...rows,
  ]);
}

const finite = (value: number): number => (Number.isFinite(value) && value > 0 ? value : 0);
