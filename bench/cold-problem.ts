/** VWD on MNIST as its published config says it, and a training step of it: degradation, encoder, U-Net, Adam and average. */
import { fileURLToPath } from "node:url";
import { buildModel, configSchema, loadConfig } from "varidiff/experiment";
import { VariationalColdDiffusion } from "varidiff/systems";
import { type FloatDtype, fromTypedArray, randn, type Tensor } from "varidiff/torch";
import { knownImages } from "./problem.js";
import { StepProblem } from "./step-problem.js";

const file = fileURLToPath(new URL("../../configs/cold/mnist-vwd.yaml", import.meta.url));
const shape = [1, 28, 28] as const;
/** Of the known images: the first, which leads to the image itself, the last, which is black, and two between. */
const knownLevels = [1, 6, 3, 4];

const readConfig = () => loadConfig(configSchema, { file, overrides: [] });

/** @throws Error where the config is of another system */
export function vcdOf(config = readConfig()): VariationalColdDiffusion {
  const { system } = buildModel(config, shape);
  if (!(system instanceof VariationalColdDiffusion))
    throw new Error(`expected a model with latents in ${file}`);
  return system;
}

/** bench/python/vcd.py is the other side. */
export class ColdProblem extends StepProblem<VariationalColdDiffusion> {
  readonly otherSide = { script: "vcd_step.py" };
  readonly draws: { readonly level: Tensor; readonly overlooked: Tensor; readonly epsilon: Tensor };

  constructor(device = "cpu") {
    const config = readConfig();
    const system = vcdOf(config);
    const optimiser = { ...config.optimiser, totalSteps: config.train.steps };
    super(system, config.train.batchSize, { optimiser, device });
    this.draws = {
      level: this.placed(fromTypedArray(Float64Array.from(knownLevels), [knownImages]).to("int64")),
      overlooked: this.placed(randn([knownImages, ...shape], this.generator)),
      epsilon: this.placed(randn([knownImages, system.latentSize], this.generator)),
    };
  }

  protected knownLoss(pixels: Tensor, precision: FloatDtype): Tensor {
    const { level, overlooked, epsilon } = this.draws;
    const draw = {
      x0: this.system.encode(pixels),
      from: level,
      to: level.sub(1),
      fromLevels: knownLevels,
      toLevels: knownLevels.map((from) => from - 1),
      noise: overlooked, // black-blur has none
      ...{ overlooked, epsilon },
    };
    return this.system.objectiveAt(draw, { pass: { precision }, step: 0 }).loss;
  }
}
