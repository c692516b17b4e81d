/** A profile for people. */
import type { ProfileRow } from "../torch/index.js";
import type { Profile } from "./profile.js";
import { plainName } from "./profile-families.js";

/** Operators that are named beside their family: the largest, with this share of a step at least. */
const named = 3;
const worthNaming = 0.002;

const giga = (flops: number) =>
  `${(flops / 1e9).toLocaleString("en", { maximumSignificantDigits: 3 })} GFLOP/s`;

export function describeProfile(profile: Profile): string {
  const { name, unit, step, machine, families, outsideOperators: outside } = profile;
  const { secondsPerStep, unitsPerSecond, profiledSecondsPerStep: whole } = profile;
  const ms = (seconds: number) => `${(seconds * 1e3).toFixed(2)} ms`;
  const row = (seconds: number, what: string, more = "") =>
    `${((100 * seconds) / whole).toFixed(1).padStart(6)} % ${ms(seconds).padStart(12)}  ${what.padEnd(31)}${more}`.trimEnd();
  const largest = (operators: readonly ProfileRow[]) =>
    operators
      .filter(({ seconds }) => seconds > worthNaming * whole)
      .slice(0, named)
      .map((each) => `${plainName(each.name)} ${ms(each.seconds)}`)
      .join(", ");
  const parts =
    outside.data === null
      ? []
      : [row(outside.data, "  reading the batch"), row(outside.javascript, "  JavaScript, bridge, profiler")];
  return [
    `${name}, ${machine.precision}, ${machine.threads} ${machine.threads === 1 ? "thread" : "threads"}: ${ms(secondsPerStep)} a ${step}, ${unitsPerSecond.toFixed(1)} ${unit}/s`,
    `with the profiler ${ms(whole)} a ${step}, of which`,
    ...families.map(({ family, seconds, operators }) => row(seconds, family, largest(operators))),
    row(
      outside.seconds,
      "outside operators",
      `without the profiler's own time at least ${(100 * outside.shareAtLeast).toFixed(1)} %`,
    ),
    ...parts,
    ...describeFlops(profile),
  ].join("\n");
}

function describeFlops({ flops, peak, machine }: Profile): readonly string[] {
  const measured = `measured here in ${machine.precision}: ${giga(peak.convolution)} with convolutions (${peak.words.convolution}), ${giga(peak.matrixProduct)} with matrix products (${peak.words.matrixProduct})`;
  if (!flops) return ["FLOP/s unknown: no network of this model says what a pass costs", measured];
  const { achieved, utilisation, networks, uncounted } = flops;
  const counted = networks.map(
    ({ name, kind, flops: one }) => `${name} (${kind}, ${(one / 1e9).toPrecision(3)} GFLOP an image forward)`,
  );
  return [
    `${giga(achieved)} achieved, ${(100 * utilisation).toFixed(1)} % of the convolutions' peak`,
    measured,
    `counted: passes through ${counted.join(", ")}${uncounted.length > 0 ? `; not counted: ${uncounted.join(", ")}` : ""}`,
  ];
}
