/** The steps of a training as work to be profiled. */
import { BatchOrder } from "../data/index.js";
import { Streams, scope } from "../torch/index.js";
import type { Config } from "./config.js";
import { buildModel, openSplit, prepareMachine, readBatch } from "./experiment.js";
import { type Profile, profileWork } from "./profile.js";
import { Trainer } from "./trainer.js";

/** Takes a few steps from a fresh start, with nothing written. @throws UserError as `profileWork` does */
export async function profileTraining(config: Config): Promise<Profile> {
  const machine = prepareMachine(config);
  const source = await openSplit(config, "train");
  const { system } = buildModel(config, source.shape);
  const { seed, batchSize } = config.train;
  system.initialise(new Streams(seed), { device: machine.device });
  const trainer = new Trainer(config, machine, system, source);
  const order = new BatchOrder(source.length, batchSize, seed);
  let reading = 0;
  try {
    return await profileWork({
      ...{ system, machine, kind: "training", unit: "images", step: "step", warmUp: 3 },
      name: `training, batches of ${batchSize}`,
      take: () => ({ units: trainer.advance(), steps: 1 }),
      read() {
        const augmentWith = new Streams(seed).at(reading);
        const indices = order.at(reading++);
        scope(() => void readBatch(source, indices, { config, device: machine.device, augmentWith }));
      },
    });
  } finally {
    trainer.dispose();
    system.dispose();
  }
}
