/** From what a network in a file returns to features. */
import { UserError } from "../../errors.js";
import type { Tensor } from "../../torch/index.js";
import type { Features } from "./feature-network.js";
import type { LaidOut, Output } from "./layout.js";

/** The outputs that the layout names, each as `[N, *]` float32. @throws UserError for one that `find` does not find */
export function namedOutputs(
  { file, layout: { outputs } }: LaidOut,
  images: number,
  find: (output: Output) => Tensor | undefined,
): Features {
  const take = (kind: keyof typeof outputs): Tensor | undefined => {
    const output = outputs[kind];
    if (output === undefined) return undefined;
    const found = find(output);
    if (found?.shape[0] !== images)
      throw new UserError(
        `${file}: expected ${images} rows of ${kind} in output ${JSON.stringify(output)}, found ${found ?? "none"}: mend the layout`,
      );
    return found.to("float32").reshape([images, -1]);
  };
  const [pool, spatial, logits] = [take("pool"), take("spatial"), take("logits")];
  const probabilities = logits ? logits.softmax(1) : take("probabilities");
  if (!pool) throw new Error("expected a layout with an output pool");
  return { pool, ...(spatial ? { spatial } : {}), ...(probabilities ? { probabilities } : {}) };
}
