"""Samples of variational cold diffusion: from black, level by level, with one latent for all levels."""
import torch

from inference import Sampling
from problem import serve_problems
from vcd import LATENT, LEVELS, network_of


class ColdSampling(Sampling):
    def __init__(self, tensors, layout):
        super().__init__(network_of(tensors), tensors, tensors["latents"], layout)

    def start(self):
        return torch.zeros_like(self.images, dtype=torch.float32), self.normal(len(self.images), LATENT)

    def step(self, x, i, latents):
        embedding = self.net.embed(torch.full([len(x)], LEVELS - 1 - i))
        return x + self.net.decode(x, embedding, latents, self.way)

    def decode(self, x):
        return (255 * x + 0.5).clamp(0, 255).to(torch.uint8)


serve_problems(lambda tensors, layout, work: ColdSampling(tensors, layout))
