/** Training steps as a CUDA graph: drawn as ever, then launched whole. Not yet run on hardware: docs/gpu.md. */
import type { Pass } from "../diffusion/denoiser.js";
import {
  type Batch,
  type CapturableModel,
  type ImageModel,
  isCapturable,
  type Objective,
  type StepContext,
  type StepInputs,
} from "../diffusion/system.js";
import { UserError } from "../errors.js";
import type { AdamW } from "../nn/index.js";
import { CudaGraph, noGrad, scope, type Tensor } from "../torch/index.js";

/** Steps that are taken one operator at a time before the recording: what is made at first use is made in them. */
const warmUps = 3;

/** What records and launches: a `CudaGraph`. */
export interface StepGraph {
  warmUp<R>(run: () => R): R;
  capture<R>(run: () => R): R;
  replay(): void;
  dispose(): void;
}

/**
 * Steps of a model: forward, backward and update on a graph, from inputs that lie where the graph reads them. Batch and
 * draws are made as without a graph, from the same streams; only the learning rate and the count of steps change beside
 * them, on the device (`AdamW.fuse`).
 */
export class CapturedStep {
  readonly #model: CapturableModel;
  readonly #optimiser: AdamW;
  readonly #graph: StepGraph;
  #inputs: StepInputs | undefined;
  #recorded: Objective | undefined;
  #warmed = 0;

  /**
   * @throws UserError where the model's objective draws or reads numbers on its way, libtorch has no fused AdamW, or
   *   `device` is no CUDA device
   */
  constructor(
    model: ImageModel,
    optimiser: AdamW,
    o: { readonly device: string; readonly graph?: StepGraph },
  ) {
    if (!o.graph && !o.device.startsWith("cuda"))
      throw new UserError(
        `expected a CUDA device for train.graph on, got ${o.device}: set device cuda, or train.graph off`,
      );
    this.#graph = o.graph ?? new CudaGraph(o.device);
    if (!isCapturable(model))
      throw new UserError(
        "expected a vdm or ddgm for train.graph on, got a model that draws within its loss: set train.graph off",
      );
    this.#model = model;
    this.#optimiser = optimiser;
    optimiser.fuse();
  }

  /** Takes a step. What it returns is overwritten by the next one. */
  take(batch: Batch, context: StepContext): { readonly objective: Objective; readonly learningRate: number } {
    const inputs = this.#model.stepInputs(batch, context);
    this.#inputs ??= noGrad(() => kept(inputs));
    const own = this.#inputs;
    noGrad(() => {
      for (const [name, value] of Object.entries(inputs)) own[name]?.copy_(value);
    });
    const learningRate = this.#optimiser.prepare();
    const run = () => this.#run(own, context.pass);
    if (this.#warmed < warmUps) {
      this.#warmed += 1;
      return { objective: this.#graph.warmUp(run), learningRate };
    }
    this.#recorded ??= this.#graph.capture(() => {
      const { loss, perExample, t, terms } = run();
      return { ...keptAll({ loss, perExample, t }), terms: keptAll(terms) };
    });
    this.#graph.replay();
    return { objective: this.#recorded, learningRate };
  }

  /** All that the device does in a step; the objective without its graph of derivatives. */
  #run(inputs: StepInputs, pass: Pass): Objective {
    return scope(() => {
      const objective = this.#model.objectiveOf(inputs, pass);
      if (this.#model.backward) this.#model.backward(objective);
      else objective.loss.backward();
      this.#optimiser.apply();
      const { loss, perExample, t, terms } = objective;
      return { ...detached({ loss, perExample, t }), terms: detached(terms) };
    });
  }

  dispose(): void {
    for (const tensor of Object.values(this.#inputs ?? {})) tensor.dispose();
    if (this.#recorded) {
      const { terms, ...rest } = this.#recorded;
      for (const tensor of [...Object.values(rest), ...Object.values(terms)]) tensor.dispose();
    }
    this.#graph.dispose();
  }
}

type Named<K extends string> = Readonly<Record<K, Tensor>>;

function each<K extends string>(tensors: Named<K>, change: (tensor: Tensor) => Tensor): Named<K> {
  return Object.fromEntries(
    Object.entries<Tensor>(tensors).map(([name, tensor]) => [name, change(tensor)]),
  ) as Named<K>;
}

function kept<K extends string>(tensors: Named<K>): Named<K> {
  return each(tensors, (tensor) => tensor.clone().keep());
}
function keptAll<K extends string>(tensors: Named<K>): Named<K> {
  return each(tensors, (tensor) => tensor.keep());
}
function detached<K extends string>(tensors: Named<K>): Named<K> {
  return each(tensors, (tensor) => tensor.detach());
}
