/** What the golden files of VDM describe: the toy network, and schedules with the parameters stored there. */
import type { Denoiser } from "../../src/diffusion/denoiser.js";
import type { DataEncoder } from "../../src/diffusion/encoder.js";
import {
  FixedLinear,
  LearnedLinear,
  MonotoneCode,
  MonotonePaper,
  type NoiseSchedule,
  Polynomial10,
  type ScheduleEnds,
} from "../../src/diffusion/index.js";
import { Module, Parameter, zero } from "../../src/nn/index.js";
import type { Tensor } from "../../src/torch/index.js";
import type { GoldenFile } from "../golden.js";

/** The ends that the README gives where a file holds none. */
export const readmeEnds: ScheduleEnds = { gammaMin: -13.3, gammaMax: 5 };

const toyParameters = ["W1", "u", "k", "b1", "W2", "b2"] as const;

/** Per pixel `tau = (gamma + 13.3) / 18.3; h = tanh(z W1 + tau u + cond k + b1); out = h W2 + b2` (golden READMEs). */
abstract class Toy extends Module {
  readonly W1: Parameter;
  readonly u: Parameter;
  readonly k: Parameter;
  readonly b1: Parameter;
  readonly W2: Parameter;
  readonly b2: Parameter;

  constructor(file: GoldenFile, prefix: string) {
    super();
    const stored = new Map(toyParameters.map((name) => [name as string, file.tensor(prefix + name)]));
    const parameter = (name: string) => new Parameter(stored.get(name)?.shape ?? [], zero);
    this.W1 = parameter("W1");
    this.u = parameter("u");
    this.k = parameter("k");
    this.b1 = parameter("b1");
    this.W2 = parameter("W2");
    this.b2 = parameter("b2");
    this.load(stored);
  }

  protected out(z: Tensor, gamma: Tensor, condition: Tensor): Tensor {
    const tau = gamma.add(13.3).div(18.3).reshape([-1, 1, 1, 1]);
    const h = z
      .permute([0, 2, 3, 1])
      .matmul(this.W1.value)
      .add(tau.mul(this.u.value))
      .add(condition.reshape([-1, 1, 1, 1]).mul(this.k.value))
      .add(this.b1.value)
      .tanh();
    return h.matmul(this.W2.value).add(this.b2.value).permute([0, 3, 1, 2]);
  }
}

/** Predicts; adds z. */
export class ToyNetwork extends Toy implements Denoiser {
  constructor(file: GoldenFile) {
    super(file, "net.");
  }
  forward(z: Tensor, gamma: Tensor, condition: Tensor): Tensor {
    return this.out(z, gamma, condition).add(z);
  }
}

/** Encodes (DiffEnc's files); ends in tanh and adds nothing. */
export class ToyEncoder extends Toy implements DataEncoder {
  constructor(file: GoldenFile) {
    super(file, "enc.");
  }
  forward(x: Tensor, gamma: Tensor, condition: Tensor): Tensor {
    return this.out(x, gamma, condition).tanh();
  }
}

/** `l1_kernel` -> `l1Kernel` */
const camelCase = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/**
 * The schedule that the files call `name`, its parameters those stored as `prefix` + their name, in float64. A schedule
 * without parameters goes between `ends`.
 */
export function storedSchedule(
  file: GoldenFile,
  name: string,
  prefix: string,
  ends: ScheduleEnds,
): NoiseSchedule {
  if (name === "fixed_linear") return new FixedLinear(ends);
  if (name === "poly10") return new Polynomial10(ends);
  const values = storedParameters(file, prefix);
  const hidden = values.get("l2Bias")?.size ?? 0;
  switch (name) {
    case "learnable_scalar":
      return new LearnedLinear(ends).load(values);
    case "nnet_code":
      return new MonotoneCode({ ...ends, hidden }).load(values);
    case "nnet_paper":
      return new MonotonePaper({ ...ends, hidden }).load(values);
    default:
      throw new Error(`no schedule is known by the golden name "${name}"`);
  }
}

/** Tensors stored as `prefix` + name, by the name they have here. */
export function storedParameters(file: GoldenFile, prefix: string): Map<string, Tensor> {
  const keys = file.keys.filter((key) => key.startsWith(prefix));
  return new Map(keys.map((key) => [camelCase(key.slice(prefix.length)), file.tensor(key)]));
}

/** gamma(0) and gamma(1) where a line through two of the file's values puts them, to 12 digits; `readmeEnds` where there is one. */
export function endsOfLine(t: readonly number[], gamma: readonly number[]): ScheduleEnds {
  const first = t.indexOf(Math.min(...t));
  const last = t.indexOf(Math.max(...t));
  if (first === last) return readmeEnds;
  const at = (values: readonly number[], i: number) => values[i] as number;
  const slope = (at(gamma, last) - at(gamma, first)) / (at(t, last) - at(t, first));
  const gammaMin = at(gamma, first) - slope * at(t, first);
  return { gammaMin: Number(gammaMin.toPrecision(12)), gammaMax: Number((gammaMin + slope).toPrecision(12)) };
}
