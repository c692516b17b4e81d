/** The fused update against the plain one; only with libtorch 2.4 and newer, which have its kernel. */
import { describe, expect, it } from "vitest";
import { hasFusedUpdate } from "../../src/nn/fused-update.js";
import { AdamW, type AdamWOptions, Parameter, zero } from "../../src/nn/index.js";
import { randn, Streams, scope, type Tensor } from "../../src/torch/index.js";
import { close } from "../golden.js";

const options: AdamWOptions = {
  ...{ learningRate: 0.01, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.1, warmupSteps: 3 },
  ...{ decay: "cosine", totalSteps: 10, clipNorm: 0.5, emaRate: 0.9 },
};

/** A matrix that decays and a bias that does not, the latter with a factor on its rate, and gradient in even steps alone. */
function trained(clipNorm: number | null, kind: "plain" | "fused"): Tensor[] {
  const streams = new Streams(3);
  const parameters = [new Parameter([4, 3], zero), new Parameter([3], zero, { decay: false })] as const;
  for (const parameter of parameters)
    scope(() => parameter.set(randn(parameter.shape, streams.generator("start"))));
  const optimiser = new AdamW(parameters, { ...options, clipNorm }, [1, 0.5]);
  if (kind === "fused") optimiser.fuse();
  for (let k = 0; k < 6; k++)
    scope(() => {
      const [matrix, bias] = parameters.map((p) => p.value) as [Tensor, Tensor];
      const at = (p: Tensor) =>
        p
          .sub(randn(p.shape, streams.generator("targets")))
          .square()
          .sum();
      // The bias begins at the second step, and the third has no gradient of it.
      (k === 1 || k > 2 ? at(matrix).add(at(bias)) : at(matrix)).backward();
      optimiser.step();
    });
  return [...parameters.map((p) => p.value), ...optimiser.average, ...optimiser.second];
}

describe.runIf(hasFusedUpdate())("AdamW.fuse", () => {
  it.each([null, 0.5])("takes the steps of the plain update, clipped at %s", (clipNorm) => {
    const plain = trained(clipNorm, "plain");
    // Both are float32: rounding of 6 steps.
    for (const [i, fused] of trained(clipNorm, "fused").entries())
      close(fused.toArray(), (plain[i] as Tensor).toArray(), 2e-6, `tensor ${i}`);
  });

  it("refuses a ramp of the average", () => {
    const optimiser = new AdamW([], { ...options, emaRamp: "ramp" });
    expect(() => optimiser.fuse()).toThrow(/^expected optimiser.emaRamp none for train.graph on, got ramp/);
  });
});

describe.runIf(!hasFusedUpdate())("AdamW.fuse of a libtorch without the kernel", () => {
  it("is refused", () => {
    expect(() => new AdamW([], options).fuse()).toThrow(/^expected a libtorch with fused AdamW/);
  });
});
