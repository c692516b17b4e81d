/** Two networks for one chain: one for its first step, one for all others. */
import { cat, type Tensor, tensor } from "../../torch/index.js";
import type { Pass } from "../denoiser.js";
import type { StepNetwork } from "./step-network.js";

/**
 * What `first` predicts of the images with `t = 0`, and `rest` of the others, each in its place; both are told the t of
 * their own images. A network without images is not called.
 */
export function routed(
  first: Pick<StepNetwork, "forward">,
  rest: Pick<StepNetwork, "forward">,
  x: Tensor,
  t: Tensor,
  condition: Tensor | undefined,
  pass: Pass,
): Tensor {
  const steps = t.toArray();
  const atStart = steps.flatMap((step, i) => (step === 0 ? [i] : []));
  const later = steps.flatMap((step, i) => (step === 0 ? [] : [i]));
  if (later.length === 0) return first.forward(x, t, condition, pass);
  if (atStart.length === 0) return rest.forward(x, t, condition, pass);

  const indices = (places: readonly number[]) => tensor(places, { dtype: "int64", device: x.device });
  const parts = [
    { network: first, places: atStart },
    { network: rest, places: later },
  ].map(({ network, places }) => {
    const index = indices(places);
    const of = (all: Tensor) => all.indexSelect(0, index);
    return network.forward(of(x), of(t), condition && of(condition), pass);
  });
  const order = [...atStart, ...later];
  return cat(parts, 0).indexSelect(0, indices(steps.map((_, i) => order.indexOf(i))));
}
