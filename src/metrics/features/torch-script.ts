/** A TorchScript file with a layout as a feature network. */
import { loadScript, noGrad, scope, type Tensor } from "../../torch/index.js";
import type { FeatureNetwork } from "./feature-network.js";
import type { LaidOut } from "./layout.js";
import { namedOutputs } from "./outputs.js";
import { prepared } from "./resampling.js";

/**
 * An output is a place among the tensors that `forward` returns, a method, whose first tensor it is, or the first tensor of
 * `forward` with arguments.
 */
export function torchScriptFeatures(
  laid: LaidOut,
  { device, standing = "other" }: { readonly device: string; readonly standing?: FeatureNetwork["standing"] },
): FeatureNetwork {
  const script = loadScript(laid.file, { device });
  return {
    name: laid.name,
    fingerprint: laid.fingerprint,
    standing,
    compute: async (pixels) =>
      scope(() =>
        noGrad(() => {
          const x = prepared(pixels.toDevice(device), laid.layout.input);
          let returned: readonly Tensor[] | undefined;
          return namedOutputs(laid, x.dim(0), (output) => {
            if (typeof output === "string") return script.call(output, x)[0];
            if (typeof output === "object") return script.call("forward", x, ...output.arguments)[0];
            returned ??= script.call("forward", x);
            return returned[output];
          });
        }),
      ),
  };
}
