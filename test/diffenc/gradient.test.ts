/** The gradient of the whole bound in encoder and schedule, second derivatives of the encoder included, against finite differences. */
import { expect, test } from "vitest";
import { LearnedLinear, Trainable } from "../../src/diffusion/index.js";
import { EncoderUnet, VdmUnet } from "../../src/networks/index.js";
import { DiffEnc } from "../../src/systems/diffenc.js";
import { Generator, noGrad, rand, randn, Streams, scope, type Tensor } from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { close } from "../golden.js";
import { readmeEnds } from "../vdm/toy.js";

const float64 = { dtype: "float64" } as const;
const shape = [2, 4, 4];
const count = 3;
const generator = new Generator({ seed: 7 });
const normal = () => randn([count, ...shape], generator, float64);
const x = rand([count, ...shape], generator, float64)
  .mul(256)
  .floor();
const draws = { t: rand([count], generator, float64), eps: normal(), eps0: normal() };
const options = { pass: {}, condition: rand([count], generator, float64) };

const small = { imageChannels: 2, dropout: 0, ...readmeEnds };
const unet = { ...small, channels: 64, depth: 1, attention: "middle", fourierExponents: [6] } as const;
const encoder = {
  ...small,
  height: 4,
  channels: 16,
  blocks: 1,
  layout: "unet",
  groups: 4,
  blockGroups: 8,
} as const;

function model(steps: number): DiffEnc {
  const system = new DiffEnc({
    shape,
    schedule: new LearnedLinear(readmeEnds),
    denoiser: new VdmUnet(unet),
    encoding: new Trainable({ network: new EncoderUnet(encoder) }),
    prediction: "v",
    steps,
    varianceRatio: steps === 0 ? 1 : "learned",
  }).initialise(new Streams(1), float64);
  disturb(system.denoiser, 1, 0.05);
  disturb(system.encoding, 2, 0.2);
  noGrad(() => system.logVarianceRatio?.value.copy_(randn([steps], generator, float64)));
  return system;
}

// Some parameters of every part of the encoder; fewer in a chain, where its derivative has no part.
test.each([
  [0, 3],
  [5, 9],
])("T = %i", (steps, stride) => {
  const system = model(steps);
  const loss = () => system.objectiveAt(x, draws, options).loss;
  loss().backward();

  /** The loss with `value` moved. */
  const movedBy = (value: Tensor, move: Tensor) =>
    noGrad(() =>
      scope(() => {
        const before = value.clone();
        value.copy_(before.add(move));
        const moved = loss().item();
        value.copy_(before);
        return moved;
      }),
    );

  const others = [
    ...system.schedule.values(),
    ...(system.logVarianceRatio ? [["ln w", system.logVarianceRatio.value] as const] : []),
  ];
  const learned = [...others, ...system.encoding.values().filter((_, i) => i % stride === 0)];
  let checked = 0;
  for (const [name, value] of learned) {
    const direction = randn(value.shape, generator, float64);
    const slope = noGrad(() => value.grad?.mul(direction).sum().item());
    // The embedding turns by up to 55 rad a unit of gamma: (55 h)^2 / 6 is 5e-10 of it; rounding, 1e-15 / h, is 1e-9.
    const h = 1e-6;
    const difference = movedBy(value, direction.mul(h)) - movedBy(value, direction.mul(-h));
    close(slope, difference / (2 * h), 1e-5, name, { absolute: 1e-7 });
    if (Math.abs(difference / (2 * h)) > 1e-4) checked += 1;
  }
  expect(checked).toBeGreaterThan(0.8 * learned.length); // a bias of attention's keys changes nothing
});
