"""Samples and bounds of VDM's network."""
import math

import torch

from inference import Likelihood, NoiseSampling
from problem import serve_problems
from vdm import GAMMA_MAX, GAMMA_MIN, LEVELS, bound_terms, level, network_of


def gamma_at(t, like):
    return torch.full([len(like)], GAMMA_MIN + (GAMMA_MAX - GAMMA_MIN) * t, dtype=torch.float64)


class VdmSampling(NoiseSampling):
    def __init__(self, tensors, layout, sampler):
        super().__init__(network_of(tensors), tensors, layout)
        self.move = {"ancestral": self.ancestral, "ddim": self.ddim}[sampler]

    def step(self, z, i, draws):
        now, then = (gamma_at(1 - k / self.steps, z) for k in (i, i + 1))
        return self.move(z, self.net(z, now, self.way), now, then, lambda: draws(i))

    def ancestral(self, z, eps, now, then, noise):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = level(now, z), level(then, z)
        c = -torch.expm1(then - now).to(z.dtype)[:, None, None, None]
        return alpha_s / alpha_t * (z - sigma_t * c * eps) + sigma_s * c.sqrt() * noise()

    def ddim(self, z, eps, now, then, noise):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = level(now, z), level(then, z)
        return alpha_s * (z - sigma_t * eps) / alpha_t + sigma_s * eps

    def decode(self, z):
        alpha0 = math.sqrt(1 / (1 + math.exp(GAMMA_MIN)))
        return ((z / alpha0 + 1) * (LEVELS / 2)).floor().clamp(0, LEVELS - 1).to(torch.uint8)


class VdmLikelihood(Likelihood):
    def __init__(self, tensors, layout):
        super().__init__(network_of(tensors), tensors, layout)

    def terms(self, images, *draws):
        return bound_terms(self.net, self.way, images, *draws)


serve_problems(
    lambda tensors, layout, work: VdmLikelihood(tensors, layout)
    if work == "bound"
    else VdmSampling(tensors, layout, work)
)
