/** The weights of Inception as pytorch-fid publishes them, as a feature network. */
import { UserError } from "../../errors.js";
import { readStateDict } from "../../io/pytorch/index.js";
import { Inception } from "../../networks/inception.js";
import { cat, fromStored, noGrad, scope } from "../../torch/index.js";
import type { FeatureNetwork, Features } from "./feature-network.js";
import { prepared } from "./resampling.js";

/** Images at a time: at 299 x 299 a batch of 16 takes 300 MB. */
const atOnce = 16;

/** As the graph of 2015 wants them: corners on corners, and `(v - 128) / 128`. */
const input = { channels: 3, size: 299, resize: "bilinear-corner", range: [-1, 127 / 128] } as const;

/** @throws UserError for a file that does not hold the weights */
export async function inceptionFeatures(
  file: string,
  o: { readonly device: string; readonly fingerprint: string },
): Promise<FeatureNetwork> {
  const { tensors } = await readStateDict(file);
  const network = new Inception();
  // Counters of training steps, which some versions write beside the statistics.
  const stored = [...tensors].filter(([name]) => !name.endsWith("num_batches_tracked"));
  scope(() => {
    try {
      const values = stored.map(([name, value]) => [name, fromStored(value)] as const);
      network.load(new Map(values), { dtype: "float32", device: o.device });
    } catch (cause) {
      throw new UserError(`${file}: expected the weights of Inception V3: ${(cause as Error).message}`, {
        cause,
      });
    }
  });
  const see = (pixels: Parameters<FeatureNetwork["compute"]>[0]): Features =>
    scope(() =>
      noGrad(() => {
        const parts = pixels
          .toDevice(o.device)
          .split(atOnce, 0)
          .map((part) => scope(() => network.forward(prepared(part, input))));
        return {
          pool: cat(parts.map(({ features }) => features)),
          spatial: cat(parts.map(({ spatial }) => spatial)),
          probabilities: cat(parts.map(({ logits }) => logits)).softmax(1),
        };
      }),
    );
  return {
    name: "inception",
    fingerprint: o.fingerprint,
    standing: "inception",
    compute: async (pixels) => see(pixels),
  };
}
