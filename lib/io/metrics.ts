/**
 * The metrics of a process: prom-client's registry behind names and labels that are declared in metric_names.ts. The
 * types refuse an undeclared label, and each label holds at most a fixed number of distinct values, because a label that
 * a client can choose would otherwise be a way to fill the memory of this process and of Prometheus.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, type MetricObject, Registry } from 'prom-client';
import { METRICS, type MetricName, type MetricSpec } from './metric_names.ts';
import { type Labels, SeriesSums } from './series_sums.ts';

type NamesOfType<Type extends MetricSpec['type']> = {
  [Name in MetricName]: (typeof METRICS)[Name]['type'] extends Type ? Name : never;
}[MetricName];
export type CounterName = NamesOfType<'counter'>;
export type GaugeName = NamesOfType<'gauge'>;
export type HistogramName = NamesOfType<'histogram'>;

/** The labels of a metric, all of them required: `{ model: string, door: string }`. */
export type LabelsOf<Name extends MetricName> = Readonly<Record<(typeof METRICS)[Name]['labels'][number], string>>;

export interface CounterHandle<Name extends MetricName> {
  inc(labels: LabelsOf<Name>, amount?: number): void;
}
export interface GaugeHandle<Name extends MetricName> {
  set(labels: LabelsOf<Name>, value: number): void;
  inc(labels: LabelsOf<Name>, amount?: number): void;
  dec(labels: LabelsOf<Name>, amount?: number): void;
  /** Forgets a series, for a thing that is gone. */
  remove(labels: LabelsOf<Name>): void;
  /** Forgets all series and takes these, at most `MAX_SERIES`: for things that are counted anew at each scrape. */
  replace(series: readonly (readonly [labels: LabelsOf<Name>, value: number])[]): void;
}
export interface HistogramHandle<Name extends MetricName> {
  observe(labels: LabelsOf<Name>, value: number): void;
}

export interface Metrics {
  counter<Name extends CounterName>(name: Name): CounterHandle<Name>;
  gauge<Name extends GaugeName>(name: Name): GaugeHandle<Name>;
  histogram<Name extends HistogramName>(name: Name): HistogramHandle<Name>;
  readonly chatRequestsTotal: CounterHandle<'chat_requests_total'>;
  readonly chatRequestDurationSeconds: HistogramHandle<'chat_request_duration_seconds'>;
  /** Called before each exposition, for figures that are looked up rather than kept. */
  onRender(collect: () => void): void;
  /** The text exposition of everything registered. */
  render(): Promise<string>;
  /** What the package measures of the process, for the docs. */
  readonly processMetrics: readonly ProcessMetric[];
  /** `content-type` of `render()`. */
  readonly contentType: string;
}

export interface ProcessMetric {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

export interface MetricsOptions {
  /** Most distinct values of one label of one metric; later ones count as `other`. 200 when absent. */
  readonly maxLabelValues?: number;
  /**
   * CPU, memory, event loop and garbage collection of this process; true when absent. `calm` leaves out the histogram of
   * the event loop's delays, which wakes the process a hundred times a second.
   */
  readonly processMetrics?: boolean | 'calm';
}

/** Maps a value to itself when it is one of `values`, else to `other`. */
export function boundedLabel(values: Iterable<string>, other = 'other'): (value: string) => string {
  const allowed = new Set(values);
  return (value) => (allowed.has(value) ? value : other);
}

/** Series of one gauge that is replaced as a whole. */
const MAX_SERIES = 20_000;
const OTHER = 'other';
const LONGEST_LABEL = 128;

/** Lets the first `max` distinct values of each label through. A removed series frees its value when nothing else holds it. */
function createLabelGuard(labelNames: readonly string[], max: number) {
  const seen = new Map(labelNames.map((name) => [name, new Set<string>()]));
  const guard = (labels: Labels): Labels => {
    const out: Labels = {};
    for (const name of labelNames) {
      const value = (labels[name] ?? '').slice(0, LONGEST_LABEL);
      const values = seen.get(name) as Set<string>;
      if (!values.has(value) && values.size < max) values.add(value);
      out[name] = values.has(value) ? value : OTHER;
    }
    return out;
  };
  const forget = (labels: Labels): void => {
    // Exact only for metrics with one label; with several, another series may still hold the value.
    const [only] = labelNames;
    if (labelNames.length === 1 && only !== undefined) seen.get(only)?.delete(labels[only] as string);
  };
  const holds = (labels: Labels): boolean =>
    labelNames.every((name) => seen.get(name)?.has(labels[name] ?? '') === true);
  return { guard, holds, forget };
}

const CALM_RESOLUTION_MS = 60_000;
const LOOP_HISTOGRAM = /^nodejs_eventloop_lag_(min|max|mean|stddev|p\d+)_seconds$/;

function collectProcessMetrics(registry: Registry, calm: boolean): void {
  if (!calm) {
    collectDefaultMetrics({ register: registry });
    return;
  }
  // The package cannot be told to leave the histogram out: it is made to look once a minute, and is not shown.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: CALM_RESOLUTION_MS });
  for (const { name } of registry.getMetricsAsArray()) if (LOOP_HISTOGRAM.test(name)) registry.removeSingleMetric(name);
}

function describe(metric: MetricObject): ProcessMetric {
  // The types of the package lack what each of its metrics has.
  const { labelNames = [] } = metric as MetricObject & { readonly labelNames?: readonly string[] };
  return { name: metric.name, type: String(metric.type), labels: labelNames, help: metric.help };
}

interface Settings {
  readonly name: string;
  readonly help: string;
  readonly labelNames: string[];
  readonly registers: Registry[];
}

function createCounter(settings: Settings, max: number) {
  const { guard } = createLabelGuard(settings.labelNames, max);
  const sums = new SeriesSums(settings.labelNames, guard);
  const metric: Counter = new Counter({
    ...settings,
    collect: () => sums.drain((labels, amount) => metric.inc(labels, amount)),
  });
  return {
    inc(labels: Labels, amount = 1): void {
      // What cannot be added is for the package to refuse.
      const sum = amount >= 0 && amount < Infinity ? sums.find(labels) : undefined;
      if (sum === undefined) metric.inc(guard(labels), amount);
      else sum.pending += amount;
    },
  };
}

function createGauge(settings: Settings, max: number) {
  const { guard, holds, forget } = createLabelGuard(settings.labelNames, max);
  const sums = new SeriesSums(settings.labelNames, guard);
  const tell = (): void => sums.drain((labels, amount) => metric.inc(labels, amount));
  const metric: Gauge = new Gauge({ ...settings, collect: tell });
  const add = (labels: Labels, amount: number): void => {
    const sum = Number.isFinite(amount) ? sums.find(labels) : undefined;
    if (sum === undefined) metric.inc(guard(labels), amount);
    else sum.pending += amount;
  };
  return {
    set(labels: Labels, value: number): void {
      tell();
      metric.set(guard(labels), value);
    },
    inc: (labels: Labels, amount = 1) => add(labels, amount),
    dec: (labels: Labels, amount = 1) => add(labels, -amount),
    remove(labels: Labels): void {
      // A value that did not get a place is counted in `other`, together with those of its kind: that stays.
      if (!holds(labels)) return;
      tell();
      sums.clear();
      metric.remove(labels);
      forget(labels);
    },
    replace(series: readonly (readonly [labels: Labels, value: number])[]): void {
      sums.clear();
      metric.reset();
      for (const [labels, value] of series.slice(0, MAX_SERIES)) metric.set(labels, value);
    },
  };
}

function createHistogram(settings: Settings & { readonly buckets?: number[] }, max: number) {
  const { guard } = createLabelGuard(settings.labelNames, max);
  const metric = new Histogram(settings);
  return { observe: (labels: Labels, value: number) => metric.observe(guard(labels), value) };
}

/** Metrics of one process, in a registry of their own, so that tests can make as many as they like. */
export function createMetrics(options: MetricsOptions = {}): Metrics {
  const registry = new Registry();
  const max = options.maxLabelValues ?? 200;
  if (options.processMetrics !== false) collectProcessMetrics(registry, options.processMetrics === 'calm');
  const processMetrics = registry.getMetricsAsArray().map(describe);
  const made = new Map<MetricName, unknown>();
  const collectors: (() => void)[] = [];
  const once = <Handle>(name: MetricName, make: () => Handle): Handle => {
    const before = made.get(name) as Handle | undefined;
    if (before !== undefined) return before;
    const handle = make();
    made.set(name, handle);
    return handle;
  };
  const settings = (name: MetricName) => {
    const spec: MetricSpec = METRICS[name];
    return { name, help: spec.help, labelNames: [...spec.labels], registers: [registry] };
  };

  const counter = <Name extends CounterName>(name: Name): CounterHandle<Name> =>
    once(name, () => createCounter(settings(name), max));
  const gauge = <Name extends GaugeName>(name: Name): GaugeHandle<Name> =>
    once(name, () => createGauge(settings(name), max));
  const histogram = <Name extends HistogramName>(name: Name): HistogramHandle<Name> =>
    once(name, () => {
      const { buckets }: MetricSpec = METRICS[name];
      return createHistogram({ ...settings(name), ...(buckets === undefined ? {} : { buckets: [...buckets] }) }, max);
    });

  return {
    counter,
    gauge,
    histogram,
    chatRequestsTotal: counter('chat_requests_total'),
    chatRequestDurationSeconds: histogram('chat_request_duration_seconds'),
    onRender: (collect) => void collectors.push(collect),
    render: () => {
      for (const collect of collectors) collect();
      return registry.metrics();
    },
    processMetrics,
    contentType: registry.contentType,
  };
}
