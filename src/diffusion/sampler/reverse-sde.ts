/** The reverse stochastic differential equation, stepped after Euler and Maruyama. */
import type { GaussianSampler } from "./step.js";

/**
 * With drift `f = -1/2 sigma^2 gamma'` and diffusion `g^2 = sigma^2 gamma'` of the forward equation
 * `dz = f z dt + g dw`, a step back in time is `z - (f z - g^2 score) h + g sqrt(h) noise` (Song et al., 2021; MuLAN,
 * section 12 of the notes). `gamma' h` is taken as the change of gamma, so that the noise removed adds up whatever the
 * number of steps.
 */
export const reverseSde: GaussianSampler = ({ z, prediction, from, to, noise }) => {
  const change = from.gamma.sub(to.gamma).to(z.dtype);
  const { sigma, sigma2 } = from;
  return z
    .add(sigma2.mul(change).mul(0.5).mul(z))
    .sub(sigma.mul(change).mul(prediction.eps))
    .add(sigma.mul(change.sqrt()).mul(noise()));
};
