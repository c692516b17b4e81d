/** Five toy forward processes through the one trainer and the one sampling driver: what does not fit changes the interface. */
import { describe, expect, it } from "vitest";
import { memorySource } from "../../src/data/index.js";
import { NoiseLevel, perExample, perImage } from "../../src/diffusion/index.js";
import { sample } from "../../src/diffusion/sampler/index.js";
import type {
  Batch,
  DiffusionSystem,
  Objective,
  SampleRequest,
  SampleView,
  StepContext,
} from "../../src/diffusion/system.js";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { Trainer } from "../../src/experiment/trainer.js";
import { constant, Linear, Module, Parameter } from "../../src/nn/index.js";
import {
  cat,
  full,
  liveTensors,
  ones,
  rand,
  randn,
  Streams,
  scope,
  setThreads,
  type Tensor,
  zeros,
} from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";

const shape = [1, 2, 2] as const;
const D = 4;

/** Pixels of two kinds only, so that there is something to learn: dark images and bright ones. */
const source = memorySource(
  { name: "toy", split: "train", shape, length: 64, origin: "made here" },
  Uint8Array.from({ length: 64 * D }, (_, i) => (Math.floor(i / D) % 2 === 0 ? 40 : 215)),
);

/** A map of `[z, t]` per image, `[B, 1, 2, 2] -> [B, 1, 2, 2]`. */
class Net extends Module {
  readonly first = new Linear(D + 1, 16);
  readonly second = new Linear(16, D);

  forward(z: Tensor, t: Tensor): Tensor {
    const input = cat([z.flatten(1), t.to("float32").unsqueeze(1)], 1);
    return this.second.forward(this.first.forward(input).tanh()).reshape(z.shape);
  }
}

/** What the toys share that the interface does not ask for. */
abstract class Toy<S extends SampleView = SampleView> extends Module implements DiffusionSystem<S> {
  readonly shape = shape;

  encode(pixels: Tensor): Tensor {
    return pixels.to("float32").div(127.5).sub(1);
  }
  decode(z: Tensor): Tensor {
    return z.add(1).mul(127.5).round().clamp(0, 255).to("uint8");
  }
  abstract objective(batch: Batch, context: StepContext): Objective;
  abstract start(request: SampleRequest): S;
  abstract step(state: S, i: number): S;

  protected report(perImageLoss: Tensor, t: Tensor, terms: Record<string, Tensor> = {}): Objective {
    return {
      loss: perImageLoss.mean(),
      perExample: perImageLoss,
      t,
      terms: { diffusion: perImageLoss, ...terms },
    };
  }
}

const times = (batch: Batch, { streams }: StepContext): Tensor =>
  rand([batch.pixels.dim(0)], streams.generator("times"), { dtype: "float64" });
const level = (t: Tensor): NoiseLevel => new NoiseLevel(perImage(t.mul(8).sub(4)), "float32");

interface Gaussian extends SampleView {
  readonly request: SampleRequest;
}

/** 1. Gaussian noise, eps prediction, deterministic steps. */
class GaussianToy extends Toy<Gaussian> {
  readonly net = new Net();

  objective(batch: Batch, context: StepContext): Objective {
    const x = this.encode(batch.pixels);
    const t = times(batch, context);
    const eps = randn(x.shape, context.streams.generator("noise"));
    return this.report(perExample(this.net.forward(level(t).diffuse(x, eps), t).sub(eps).square()), t);
  }
  start(request: SampleRequest): Gaussian {
    return { z: randn([request.count, ...shape], request.streams.generator("prior")), request };
  }
  step({ z, request }: Gaussian, i: number): Gaussian {
    const at = (k: number) => full([z.dim(0)], (request.steps - k) / request.steps, { dtype: "float64" });
    const [from, to] = [level(at(i)), level(at(i + 1))];
    const eps = this.net.forward(z, at(i));
    const xHat = z.sub(from.sigma.mul(eps)).div(from.alpha);
    return { z: to.diffuse(xHat, eps), xHat, request };
  }
}

/** 2. Encoded: the mean is a learned, time-dependent encoding of the data (two networks, one of them not sampled with). */
class EncodedToy extends GaussianToy {
  readonly encoder = new Net();

  override objective(batch: Batch, context: StepContext): Objective {
    const x = this.encode(batch.pixels);
    const t = times(batch, context);
    const encoded = x.add(this.encoder.forward(x, t).mul(perImage(t).to("float32")));
    const eps = randn(x.shape, context.streams.generator("noise"));
    const error = perExample(this.net.forward(level(t).diffuse(encoded, eps), t).sub(eps).square());
    const drift = perExample(encoded.sub(x).square());
    return this.report(error.add(drift), t, { encoder: drift });
  }
}

/** 3. Per-pixel noise levels conditioned on a latent with a divergence of its own. */
class PerPixelToy extends GaussianToy {
  readonly slopes = new Parameter([D], constant(8));
  readonly posterior = new Linear(D, 2);

  override objective(batch: Batch, context: StepContext): Objective {
    const x = this.encode(batch.pixels);
    const t = times(batch, context);
    const [mean, logDeviation] = this.posterior.forward(x.flatten(1)).split(1, 1) as [Tensor, Tensor];
    const c = mean.add(logDeviation.exp().mul(randn(mean.shape, context.streams.generator("latent"))));
    const kl = mean.square().add(logDeviation.mul(2).exp()).sub(1).mul(0.5).sub(logDeviation).sum([1]);
    const slope = this.slopes.value
      .abs()
      .reshape(shape)
      .add(c.sigmoid().reshape([-1, 1, 1, 1]));
    const gamma = perImage(t).to("float32").mul(slope).sub(4); // [B, 1, 2, 2]
    const eps = randn(x.shape, context.streams.generator("noise"));
    const error = perExample(this.net.forward(new NoiseLevel(gamma).diffuse(x, eps), t).sub(eps).square());
    return this.report(error.add(kl), t, { latent: kl });
  }
}

/** 4. A discrete chain with two networks, a generator above the split and a denoiser below, and a history it keeps. */
class ChainToy extends Toy<Gaussian> {
  readonly generator = new Net();
  readonly denoiser = new Net();
  #history: Tensor = zeros([2], { dtype: "float64" }).keep();

  objective(batch: Batch, context: StepContext): Objective {
    const x = this.encode(batch.pixels);
    const t = times(batch, context).mul(10).floor().add(1).div(10);
    const eps = randn(x.shape, context.streams.generator("noise"));
    const noisy = level(t).diffuse(x, eps);
    const first = ones([x.dim(0)], { dtype: "float64" }).div(10);
    const generated = perExample(this.generator.forward(noisy, t).sub(x).square());
    const denoised = perExample(this.denoiser.forward(level(first).diffuse(x, eps), first).sub(x).square());
    this.#history.add_(
      cat([generated.detach().mean().reshape([1]), denoised.detach().mean().reshape([1])]).to("float64"),
    );
    return this.report(generated.add(denoised), t, { generator: generated, denoiser: denoised });
  }
  trainState(): Record<string, Tensor> {
    return { history: this.#history };
  }
  restoreTrainState(state: ReadonlyMap<string, Tensor>): void {
    this.#history.copy_(state.get("history") as Tensor);
  }
  start(request: SampleRequest): Gaussian {
    return { z: randn([request.count, ...shape], request.streams.generator("prior")), request };
  }
  step({ z, request }: Gaussian, i: number): Gaussian {
    const last = i === request.steps - 1;
    const t = full([z.dim(0)], (request.steps - i) / request.steps, { dtype: "float64" });
    const xHat = (last ? this.denoiser : this.generator).forward(z, t);
    if (last) return { z: xHat, xHat, request };
    const to = level(t.sub(1 / request.steps));
    const noise = randn(z.shape, request.streams.at(i).generator("noise"));
    return { z: to.diffuse(xHat, noise), xHat, request };
  }
}

interface Cold extends SampleView {
  readonly xHat: Tensor;
  readonly request: SampleRequest;
}

/** 5. Deterministic: images fade to their mean; the averaged weights teach the next step, and the last fit of the data is kept. */
class ColdToy extends Toy<Cold> {
  readonly net = new Net();

  #fade(x: Tensor, t: Tensor): Tensor {
    const w = perImage(t).to("float32");
    return x.mul(w.rsub(1)).add(x.mean([1, 2, 3], { keepDims: true }).mul(w));
  }
  objective(batch: Batch, context: StepContext): Objective {
    const x = this.encode(batch.pixels);
    const t = times(batch, context);
    const out = this.net.forward(this.#fade(x, t), t);
    const taught = context.averaged(() => this.net.forward(this.#fade(x, t.mul(0.5)), t.mul(0.5)));
    if (taught.requiresGrad) throw new Error("expected the teacher outside the graph");
    const error = perExample(out.sub(x).square());
    const consistency = perExample(out.sub(taught).square());
    return this.report(error.add(consistency.mul(0.1)), t, { consistency });
  }
  start(request: SampleRequest): Cold {
    const z = randn([request.count, 1, 1, 1], request.streams.generator("prior"))
      .mul(0.5)
      .expand([request.count, ...shape])
      .clone();
    return { z, xHat: z, request };
  }
  step({ z, request }: Cold, i: number): Cold {
    const t = full([z.dim(0)], (request.steps - i) / request.steps, { dtype: "float64" });
    const xHat = this.net.forward(z, t);
    return { z: z.sub(this.#fade(xHat, t)).add(this.#fade(xHat, t.sub(1 / request.steps))), xHat, request };
  }
}

const toys = { GaussianToy, EncodedToy, PerPixelToy, ChainToy, ColdToy };
const machine = { device: "cpu", precision: "float32", threads: 1 } as const;
// The trainer reads the sections data, train and optimiser; the model's says nothing to a toy.
const config: Config = loadConfig(configSchema, {
  text: "system: vdm\ntrain: { steps: 400, batchSize: 32 }\noptimiser: { learningRate: 0.01, warmupSteps: 0, emaRate: 0.9 }\n",
  overrides: [],
});
const steps = 200;

function trained(Kind: (typeof toys)[keyof typeof toys]): { trainer: Trainer; losses: number[] } {
  setThreads(1);
  const system = new Kind().initialise(new Streams(3)) as DiffusionSystem;
  const trainer = new Trainer(config, machine, system, source);
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) {
    trainer.advance();
    if ((i + 1) % 20 === 0) losses.push(trainer.read()?.bitsPerDim ?? Number.NaN);
  }
  return { trainer, losses };
}

describe.each(Object.entries(toys))("%s", (_, Kind) => {
  it("is trained by the trainer, which leaks nothing", () => {
    const { trainer, losses } = trained(Kind);
    // Data of two kinds through a network that can tell them apart: the error of the start at least halves.
    expect(losses.at(-1)).toBeLessThan(0.6 * (losses[0] as number));
    collectGarbage();
    const before = liveTensors();
    for (let i = 0; i < 10; i++) trainer.advance();
    expect(liveTensors()).toBe(before);
  });

  it("resumes from its tensors to the same bits", () => {
    const whole = trained(Kind).trainer;
    const state = whole.tensors();
    const copies = Object.fromEntries(
      Object.entries(state).map(([file, tensors]) => [
        file,
        new Map(tensors.map(([name, t]) => [name, t.detach().clone().keep()])),
      ]),
    ) as Record<keyof typeof state, Map<string, Tensor>>;
    whole.advance();

    const again = new Trainer(
      config,
      machine,
      new Kind().initialise(new Streams(99)) as DiffusionSystem,
      source,
    );
    again.restore(steps, copies);
    again.advance();
    for (const file of ["weights", "ema", "optimiser"] as const)
      for (const [i, [name, value]] of whole.tensors()[file].entries()) {
        const [otherName, other] = again.tensors()[file][i] as [string, Tensor];
        expect([otherName, Buffer.from(other.toBytes()).toString("hex")]).toEqual([
          name,
          Buffer.from(value.toBytes()).toString("hex"),
        ]);
      }
  });

  it("is sampled by the driver, every step reported, nothing left behind", async () => {
    const { trainer } = trained(Kind);
    const system = trainer.system;
    const request = { count: 3, steps: 10, sampler: "ddim", streams: new Streams(5), pass: {} };
    collectGarbage();
    const before = liveTensors();
    const seen: number[] = [];
    const pixels = await sample(system, request, {
      onStep({ z }, done) {
        expect(z.shape).toEqual([3, ...shape]);
        seen.push(done);
      },
    });
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(pixels.toString()).toBe("uint8[3, 1, 2, 2]");
    const first = pixels.toArray();
    pixels.dispose();
    expect(liveTensors()).toBe(before);
    const second = await sample(system, { ...request, streams: new Streams(5) });
    expect(scope(() => second.toArray())).toEqual(first);
    second.dispose();
  });
});
