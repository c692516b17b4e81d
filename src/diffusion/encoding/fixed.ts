/** Encodings without parameters. */
import { type Tensor, zerosLike } from "../../torch/index.js";
import { NoiseLevel, perImage, Transition } from "../level.js";
import { type Encoded, Encoding, type EncodingContext } from "./encoding.js";

/** `x_t = x`: no encoding, VDM. */
export class Identity extends Encoding {
  at(x: Tensor): Tensor {
    return x;
  }
  withRate(x: Tensor): Encoded {
    return { x, surplus: x };
  }
  override change(x: Tensor): { readonly x: Tensor; readonly change: Tensor } {
    return { x, change: zerosLike(x) };
  }
}

/** `x_t = alpha_t^2 x`, for which `dx_t/dlambda = sigma_t^2 x_t` (DiffEnc-nt). */
export class NonTrainable extends Encoding {
  at(x: Tensor, gamma: Tensor): Tensor {
    return new NoiseLevel(perImage(gamma, x.rank), x.dtype).alpha2.mul(x);
  }
  withRate(x: Tensor, gamma: Tensor): Encoded {
    return { x: this.at(x, gamma), surplus: zerosLike(x) };
  }
  /** `x_s - x_t = alpha_s^2 sigma_t^2 c x` */
  override change(
    x: Tensor,
    gamma: { readonly s: Tensor; readonly t: Tensor },
    _context: EncodingContext,
  ): { readonly x: Tensor; readonly change: Tensor } {
    const s = new NoiseLevel(perImage(gamma.s, x.rank), x.dtype);
    const t = new NoiseLevel(perImage(gamma.t, x.rank), x.dtype);
    return { x: this.at(x, gamma.t), change: s.alpha2.mul(new Transition(s, t).variance).mul(x) };
  }
}
