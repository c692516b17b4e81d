/** What a process has used, as Linux counts it. */
import fs from "node:fs";

/** Ticks of the processor times that Linux reports, a second. */
const ticks = 100;

/** From now on: the peak becomes what is resident at present. */
export function resetPeakMemory(pid: number): void {
  fs.writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

/** Largest resident size, MB. */
export function peakMemory(pid: number): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) / 2 ** 10;
}

/** Seconds of all its threads so far, in the system too. */
export function processorTime(pid: number): number {
  // Behind the name, which may have spaces, in brackets: the 14th and 15th field of all.
  const fields = fs
    .readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticks;
}
