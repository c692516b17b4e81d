/** Captured training steps, on the CPU with a stand-in for the graph: it holds to what a CUDA graph holds to. */
import { expect, it } from "vitest";
import {
  FixedLinear,
  GaussianChain,
  type ImageModel,
  LearnedLinear,
  linearBetas,
  type NoiseSchedule,
  type Objective,
  type StepSampling,
} from "../../src/diffusion/index.js";
import { CapturedStep, type StepGraph } from "../../src/experiment/captured-step.js";
import { GuidedUnet, VdmUnet } from "../../src/networks/index.js";
import { AdamW, type AdamWOptions } from "../../src/nn/index.js";
import { DDGM, VDM } from "../../src/systems/index.js";
import { noGrad, randint, Streams, scope, type Tensor, withoutHost } from "../../src/torch/index.js";

const ends = { gammaMin: -13.3, gammaMax: 5 };
const shape = [1, 4, 4] as const;
const options: AdamWOptions = {
  ...{ learningRate: 1e-3, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.01, warmupSteps: 4 },
  ...{ decay: "linear", totalSteps: 10, clipNorm: null, emaRate: 0.9 },
};

/** The update's numbers change from step to step: the stand-in repeats JavaScript, so these need not lie on the device. */
class PlainAdamW extends AdamW {
  override fuse(): void {}
}

/**
 * Records by keeping `run` as it was at the capture: what it closes over stays, as in a graph, and its result keeps its
 * place. The capture computes, so the first replay has been done already.
 */
class StandIn implements StepGraph {
  readonly told: string[] = [];
  #again: (() => void) | undefined;

  warmUp<R>(run: () => R): R {
    this.told.push("warm-up");
    return run();
  }
  capture<R>(run: () => R): R {
    this.told.push("capture");
    const result = withoutHost(run);
    let fresh = true;
    this.#again = () => {
      if (!fresh) overwrite(result as Objective, withoutHost(run) as Objective);
      fresh = false;
    };
    return result;
  }
  replay(): void {
    this.told.push("replay");
    this.#again?.();
  }
  dispose(): void {
    this.told.push("dispose");
  }
}

function overwrite(into: Objective, from: Objective): void {
  noGrad(() => {
    into.loss.copy_(from.loss);
    into.perExample.copy_(from.perExample);
    for (const [name, term] of Object.entries(into.terms)) term.copy_(from.terms[name] as Tensor);
  });
}

interface Problem {
  readonly system: ImageModel;
  readonly optimiser: AdamW;
}

/** DDGM without attention, on the network and the loss of the published configs. */
function chainProblem(sampling: StepSampling = "uniform"): Problem {
  const network = new GuidedUnet({
    ...{ imageChannels: 1, outChannels: 1, imageSize: 4, channels: 32, channelMultipliers: [1] },
    ...{ residualBlocks: 1, attentionResolutions: [], heads: 1, scaleShift: "scale-shift" },
    ...{ resampling: "convolution", attentionOrder: "legacy", dropout: 0 },
  });
  const type = { mean: "eps", variance: "fixed-large" } as const;
  const chain = new GaussianChain(linearBetas(100));
  const system = new DDGM({ shape, chain, network, type, loss: "simple", sampling });
  system.initialise(new Streams(1));
  return { system, optimiser: new PlainAdamW(system.parameters(), options) };
}

function problem(o: { readonly schedule?: NoiseSchedule; readonly dropout?: number } = {}): Problem {
  const { schedule = new FixedLinear(ends), dropout = 0 } = o;
  const network = {
    imageChannels: 1,
    channels: 64,
    depth: 1,
    attention: "none",
    fourierExponents: [6],
  } as const;
  const system = new VDM({ shape, schedule, denoiser: new VdmUnet({ ...network, ...ends, dropout }) });
  system.initialise(new Streams(1));
  return { system, optimiser: new PlainAdamW(system.parameters(), options) };
}

function contextAt(k: number) {
  const streams = new Streams(2).at(k);
  const batch = { pixels: randint(0, 256, [4, ...shape], streams.generator("pixels"), { dtype: "uint8" }) };
  const averaged = (): never => {
    throw new Error("unused");
  };
  const pass = { precision: "float32", dropout: streams.dropoutKeys() } as const;
  return { batch, context: { step: k, streams, pass, averaged } };
}

const steps = 7;

it.each([
  ["VDM", problem],
  ["DDGM", chainProblem],
])("takes %s's steps as without it: fresh inputs, rates and counts reach what was recorded", (_, make) => {
  const plain = make();
  const losses = Array.from({ length: steps }, (_, k) =>
    scope(() => {
      const { batch, context } = contextAt(k);
      const { loss } = plain.system.objective(batch, context);
      loss.backward();
      plain.optimiser.step();
      return loss.item();
    }),
  );
  const captured = make();
  const graph = new StandIn();
  const step = new CapturedStep(captured.system, captured.optimiser, { device: "cuda", graph });
  const found = Array.from({ length: steps }, (_, k) =>
    scope(() => {
      const { batch, context } = contextAt(k);
      return step.take(batch, context).objective.loss.item();
    }),
  );
  expect(found).toEqual(losses);
  const values = ({ system }: Problem) => system.parameters().map((p) => p.value.toArray());
  expect(values(captured)).toEqual(values(plain));
  expect(captured.optimiser.average.map((t) => t.toArray())).toEqual(
    plain.optimiser.average.map((t) => t.toArray()),
  );
  step.dispose();
  const replays = Array.from({ length: 4 }, () => "replay");
  expect(graph.told).toEqual(["warm-up", "warm-up", "warm-up", "capture", ...replays, "dispose"]);
});

it.each([
  ["dropout", { dropout: 0.1 }],
  ["a number read from a tensor", { schedule: new LearnedLinear(ends) }],
] as const)("refuses a model with %s on its way", (what, options) => {
  const { system, optimiser } = problem(options);
  const step = new CapturedStep(system, optimiser, { device: "cuda", graph: new StandIn() });
  const take = (k: number) =>
    scope(() => {
      const { batch, context } = contextAt(k);
      step.take(batch, context);
    });
  for (let k = 0; k < 3; k++) take(k);
  expect(() => take(3)).toThrow(`expected a computation on the device alone, got ${what},`);
});

it("refuses steps that are drawn by their losses", () => {
  const { system, optimiser } = chainProblem("loss-second-moment");
  const step = new CapturedStep(system, optimiser, { device: "cuda", graph: new StandIn() });
  const { batch, context } = contextAt(0);
  expect(() => step.take(batch, context)).toThrow(/^expected steps that are not drawn by their losses/);
});

it("refuses the CPU", () => {
  const { system, optimiser } = problem();
  expect(() => new CapturedStep(system, optimiser, { device: "cpu" })).toThrow(/^expected a CUDA device/);
});
