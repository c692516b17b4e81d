/** What a training tells as it goes: metrics.jsonl, which is the truth, and TensorBoard events beside it. */
import { EventWriter, JsonlWriter, readJsonl, truncateJsonl } from "../io/index.js";
import type { JsonObject } from "./checkpoint-files.js";
import type { Run } from "./run-folder.js";

/** One line of metrics.jsonl. `step` counts finished steps; `seconds` the time spent training so far, `cpuSeconds` that of all threads together. */
export type MetricsRecord = {
  readonly event: "start" | "resume" | "train" | "evaluate" | "finish" | "interrupt" | "failed";
  readonly step: number;
} & JsonObject;

/** The records of a run in their order. */
export function readMetrics(run: Run): MetricsRecord[] {
  return readJsonl<MetricsRecord>(run.paths.metrics);
}

/** Writes records to metrics.jsonl, and their numbers to TensorBoard. */
export class Journal {
  readonly #lines: JsonlWriter;
  readonly #events: EventWriter;

  /** Goes on after `step`: records past it, of steps that will be taken again, are cut. */
  constructor(run: Run, step: number) {
    truncateJsonl<MetricsRecord>(
      run.paths.metrics,
      (record) => record.step <= step && record.event !== "failed",
    );
    this.#lines = new JsonlWriter(run.paths.metrics);
    this.#events = new EventWriter(run.paths.events);
    if (step > 0) this.#events.startAt(step + 1);
  }

  record(record: MetricsRecord): void {
    this.#lines.append(record);
    if (record.event !== "train" && record.event !== "evaluate") return;
    for (const [key, value] of Object.entries(record))
      if (typeof value === "number" && key !== "step")
        this.#events.scalar(`${record.event}/${key}`, value, record.step);
  }

  /** A picture in TensorBoard. */
  image(
    tag: string,
    png: Uint8Array,
    size: { readonly width: number; readonly height: number },
    step: number,
  ): void {
    this.#events.image(tag, png, { ...size, channels: 4 }, step);
  }

  close(): void {
    this.#lines.close();
    this.#events.close();
  }
}
