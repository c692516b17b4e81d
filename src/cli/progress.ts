/** The story of a long job on stderr: one live line on a terminal, a plain line now and then elsewhere. */

/** What the progress needs of a stream; `process.stderr` is one. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  /** Units of work in all, those done in an earlier session included. */
  readonly total: number;
  /** What is counted, in the plural: `steps`, `images`. */
  readonly unit: string;
  /** What is being done: `train`, `sample`. */
  readonly label: string;
  /** Default `process.stderr`. */
  readonly stream?: ProgressStream;
  /** Milliseconds; default the monotonic clock. */
  readonly now?: () => number;
}

export interface Progress {
  /** `done` units of `total` are done; `fields` are shown beside: `{ "bits/dim": 3.21, "images/s": 410 }`. */
  update(done: number, fields?: Readonly<Record<string, string | number>>): void;
  /** A line that stays, above the live one. */
  log(line: string): void;
  /** The last state stays as a line of its own. Belongs in a `finally`: what is written next begins a new line. */
  done(): void;
}

const LIVE_INTERVAL_MS = 100;
const PLAIN_INTERVAL_MS = 10_000;
/** Speed is a mean over about this long, weighted towards now. */
const SMOOTHING_MS = 15_000;
const CLEAR_LINE = "\r\x1b[K";

export function createProgress(options: ProgressOptions): Progress {
  const { stream = process.stderr, now = () => performance.now() } = options;
  const live = stream.isTTY === true && process.env.TERM !== "dumb";
  const interval = live ? LIVE_INTERVAL_MS : PLAIN_INTERVAL_MS;
  const rate = smoothedRate();
  let line = "";
  let shownLine = "";
  let shownAt = Number.NEGATIVE_INFINITY;
  /** Whether a live line stands on the terminal, its end still open. */
  let open = false;

  const draw = () => `${CLEAR_LINE}${cut(line, (stream.columns || 80) - 1)}`;
  const show = () => {
    stream.write(live ? draw() : `${line}\n`);
    open = live;
    shownLine = line;
    shownAt = now();
  };

  return {
    update(done, fields = {}) {
      rate.observe(done, now());
      line = describe(options, done, fields, rate.perSecond());
      if (now() - shownAt >= interval) show();
    },
    log(text) {
      stream.write(open ? `${CLEAR_LINE}${text}\n${draw()}` : `${text}\n`);
    },
    done() {
      if (line !== shownLine) show();
      if (open) stream.write("\n");
      open = false;
    },
  };
}

/** `2 min 05 s`; the two largest units, so that it is as exact as one cares about. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (value: number) => String(value).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${pad(hours % 24)} h`;
}

function describe(
  { label, total, unit }: ProgressOptions,
  done: number,
  fields: Readonly<Record<string, string | number>>,
  perSecond: number | undefined,
): string {
  const percent = total > 0 ? ` (${Math.floor((100 * done) / total)} %)` : "";
  const parts = [`${label} ${grouped(done)}/${grouped(total)} ${unit}${percent}`];
  for (const [name, value] of Object.entries(fields)) {
    parts.push(`${name} ${typeof value === "number" ? formatNumber(value) : value}`);
  }
  if (perSecond !== undefined && perSecond > 0) {
    // Seconds per second say nothing.
    if (unit !== "s")
      parts.push(`${perSecond >= 100 ? grouped(Math.round(perSecond)) : perSecond.toPrecision(3)} ${unit}/s`);
    if (done < total) parts.push(`${formatDuration((total - done) / perSecond)} left`);
  }
  return parts.join("  ");
}

/** Four significant digits; whole numbers, and large ones, in groups of three. */
function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return grouped(Math.round(value));
  return value.toPrecision(4);
}

function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** By code points, with "…" where something is missing. */
function cut(text: string, width: number): string {
  const points = [...text];
  return points.length <= width ? text : `${points.slice(0, Math.max(0, width - 1)).join("")}…`;
}

/** Work over time, both fading alike, so that the quotient is a weighted mean of the speed from the start on. */
function smoothedRate() {
  let last: { readonly done: number; readonly time: number } | undefined;
  let work = 0;
  let elapsed = 0;
  return {
    /** The first observation is where counting begins: a resumed job has done nothing yet. */
    observe(done: number, time: number): void {
      if (last) {
        const faded = Math.exp((last.time - time) / SMOOTHING_MS);
        work = work * faded + done - last.done;
        elapsed = elapsed * faded + time - last.time;
      }
      last = { done, time };
    },
    /** Units a second; undefined before there is anything to measure. */
    perSecond(): number | undefined {
      return elapsed > 0 && work > 0 ? (1000 * work) / elapsed : undefined;
    },
  };
}
