/** The encoding that is learned (DiffEnc, section 3.4 and appendix). */
import { cat, directionalDerivative, type Tensor } from "../../torch/index.js";
import type { DataEncoder } from "../encoder.js";
import { NoiseLevel, perImage } from "../level.js";
import { type Encoded, Encoding, type EncodingContext } from "./encoding.js";

export interface TrainableOptions {
  /** `y(x, gamma)`, values in (-1, 1). */
  readonly network: DataEncoder;
  /**
   * Dropout masks of `x_t`, `y_t` and `dy/dgamma`: one for all three, which makes their sum the loss of one network, or
   * a fresh one each as in the official code. Default `shared`.
   */
  readonly masks?: "shared" | "independent";
}

/**
 * `x_t = alpha_t^2 x + sigma_t^2 y_t`, the identity at t = 0 whatever y does and all but free at t = 1, with
 * `dx_t/dlambda = sigma_t^2 (x_t - y_t - dy_t/dgamma)`, so that the surplus is `y_t + dy_t/dgamma`.
 */
export class Trainable extends Encoding {
  readonly network: DataEncoder;
  readonly #masks: "shared" | "independent";

  constructor({ network, masks = "shared" }: TrainableOptions) {
    super();
    this.network = network;
    this.#masks = masks;
  }

  at(x: Tensor, gamma: Tensor, context: EncodingContext): Tensor {
    return this.#mix(x, this.#y(x, gamma, context), gamma);
  }

  withRate(x: Tensor, gamma: Tensor, context: EncodingContext): Encoded {
    const own = directionalDerivative((level) => this.#y(x, level, context), gamma);
    if (this.#masks === "shared" || !context.pass.dropout)
      return { x: this.#mix(x, own.value, gamma), surplus: own.value.add(own.derivative) };
    const y = this.#y(x, gamma, context);
    return { x: this.at(x, gamma, context), surplus: y.add(own.derivative) };
  }

  /** One pass of the network over all levels together. */
  override atAll(x: Tensor, gammas: readonly Tensor[], context: EncodingContext): Tensor[] {
    const n = gammas.length;
    const repeated = <T>(value: T) => new Array<T>(n).fill(value);
    const condition = cat(repeated(context.condition), 0);
    const y = this.#y(cat(repeated(x), 0), cat(gammas, 0), { ...context, condition });
    return y.split(x.dim(0), 0).map((part, i) => this.#mix(x, part, gammas[i] as Tensor));
  }

  #y(x: Tensor, gamma: Tensor, { condition, pass }: EncodingContext): Tensor {
    return this.network.forward(x, gamma, condition, pass);
  }

  #mix(x: Tensor, y: Tensor, gamma: Tensor): Tensor {
    const level = new NoiseLevel(perImage(gamma, x.rank), x.dtype);
    return level.alpha2.mul(x).add(level.sigma2.mul(y));
  }
}
