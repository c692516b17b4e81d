"""Samples and bounds of DDGM with the guided-diffusion U-Net: the chain as the official code has it, fixed large variances."""
import math

import torch

from guided import STEPS, chain_betas, encode, network_of
from inference import Likelihood, NoiseSampling
from problem import serve_problems


class Chain:
    """Through the given states of the chain that was trained."""

    def __init__(self, kept):
        self.kept = kept
        abar = (1 - chain_betas()).cumprod(0)[kept]
        before = torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
        betas = 1 - abar / before
        self.abar, self.before = abar, before
        variance = betas * (1 - before) / (1 - abar)
        self.of_image = betas * before.sqrt() / (1 - abar)
        self.of_state = (1 - before) * (1 - betas).sqrt() / (1 - abar)
        self.posterior_log_variance = torch.cat([variance[1:2], variance[1:]]).log()
        self.log_variance = torch.cat([variance[1:2], betas[1:]]).log()

    def at(self, table, t):
        return table[t].float()[:, None, None, None]

    def mean(self, x0, x, t):
        return self.at(self.of_image, t) * x0 + self.at(self.of_state, t) * x

    def image(self, x, eps, t):
        return self.at((1 / self.abar).sqrt(), t) * x - self.at((1 / self.abar - 1).sqrt(), t) * eps

    def noise(self, x, x0, t):
        return (self.at((1 / self.abar).sqrt(), t) * x - x0) / self.at((1 / self.abar - 1).sqrt(), t)


class ChainSampling(NoiseSampling):
    def __init__(self, tensors, layout, sampler):
        super().__init__(network_of(tensors), tensors, layout)
        self.chain = Chain(tensors["kept"].long())
        self.move = {"ancestral": self.ancestral, "ddim": self.ddim}[sampler]

    def step(self, x, i, draws):
        t = torch.full([len(x)], self.steps - 1 - i)
        image = self.chain.image(x, self.net(x, self.chain.kept[t], self.way), t)
        return self.move(x, image, t, lambda: draws(i))

    def ancestral(self, x, image, t, noise):
        chain = self.chain
        mask = (t != 0).float()[:, None, None, None]
        deviation = (0.5 * chain.at(chain.log_variance, t)).exp()
        return chain.mean(image, x, t) + mask * deviation * noise()

    def ddim(self, x, image, t, noise):
        before = self.chain.at(self.chain.before, t)
        return before.sqrt() * image + (1 - before).sqrt() * self.chain.noise(x, image, t)

    def decode(self, x):
        return ((x + 1) * 127.5).clamp(0, 255).to(torch.uint8)


def normal_divergence(mean1, log1, mean2, log2):
    return 0.5 * (-1 + log2 - log1 + (log1 - log2).exp() + (mean1 - mean2) ** 2 * (-log2).exp())


def normal_cdf(x):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def pixel_log_likelihood(x, mean, log_scale):
    centred, precision = (x - mean).double(), (-log_scale).double().exp()
    above, below = normal_cdf(precision * (centred + 1 / 255)), normal_cdf(precision * (centred - 1 / 255))
    probability = torch.where(x < -0.999, above, torch.where(x > 0.999, 1 - below, above - below))
    return probability.clamp(min=1e-12).log()


class ChainLikelihood(Likelihood):
    """A draw of the bound: its first term, its prior, and one of the other terms for all of them."""

    def __init__(self, tensors, layout):
        super().__init__(network_of(tensors), tensors, layout)
        self.chain = Chain(torch.arange(STEPS))

    def step(self, x0, t, noise):
        """The mean of p(x_{t-1} | x_t) and of q(x_{t-1} | x_t, x_0) at a draw of x_t."""
        chain = self.chain
        x = chain.at(chain.abar.sqrt(), t) * x0 + chain.at((1 - chain.abar).sqrt(), t) * noise
        image = chain.image(x, self.net(x, t, self.way), t).clamp(-1, 1)
        return chain.mean(image, x, t), chain.mean(x0, x, t)

    def terms(self, images, time, noise, noise0):
        chain, x0 = self.chain, encode(images)
        # 1. Reconstruction
        first = torch.zeros(len(x0), dtype=torch.long)
        mean, _ = self.step(x0, first, noise0)
        reconstruction = -pixel_log_likelihood(x0, mean, 0.5 * chain.at(chain.log_variance, first))
        # 2. Prior
        abar = chain.abar[-1]
        prior = normal_divergence(abar.sqrt() * x0.double(), (1 - abar).log(), torch.zeros(()), torch.zeros(()))
        # 3. The other steps
        t = (time * (STEPS - 1)).floor().clamp(0, STEPS - 2).long() + 1
        mean, true = self.step(x0, t, noise)
        other = normal_divergence(true, chain.at(chain.posterior_log_variance, t), mean, chain.at(chain.log_variance, t))
        total = lambda term: term.flatten(1).double().sum(1)
        return total(reconstruction), total(prior), total(other) * (STEPS - 1)


serve_problems(
    lambda tensors, layout, work: ChainLikelihood(tensors, layout)
    if work == "bound"
    else ChainSampling(tensors, layout, work)
)
