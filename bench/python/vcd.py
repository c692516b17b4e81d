"""Variational cold diffusion on MNIST with white noise on the network's input (VWD): the published network, its degradation,
loss and training step in eager PyTorch. The names of the parameters are the official ones."""
import math

import torch
from torch import nn

from problem import weights_below
from steps import StepProblem
from unet import Plan, Trunk, descend, step_waves, time_embedding, way_down

CHANNELS, SIDE, LEVELS, LATENT = 64, 28, 6, 128
# Of the latent's divergence, and the deviation of the noise.
BETA, NOISE = 0.004, 0.002
# Of both times side by side.
FEATURES = 2 * 4 * CHANNELS


def plan(widths, features):
    return Plan(widths=widths, blocks=2, attention=frozenset([2]), features=features, dropout=0.1)


class Encoder(nn.Module):
    def __init__(self, image_channels):
        super().__init__()
        width = CHANNELS // 2
        self.input_blocks, _ = way_down(2 * image_channels, plan((width, width, width), FEATURES))
        self.dense_mean, self.dense_logvar = (nn.Linear(width * (SIDE // 4) ** 2, LATENT) for _ in range(2))

    def forward(self, x, target, embedding, way):
        stem = self.input_blocks[0][0](way.lay(torch.cat([x, target], 1)))
        with way.cast():
            maps = descend(self.input_blocks, way.inner(stem), embedding)[-1]
        features = maps.float().flatten(1)
        return self.dense_mean(features), self.dense_logvar(features)


class Unet(Trunk):
    def __init__(self, image_channels):
        # The projected latent lies beside the embedding of the times.
        widths = (CHANNELS, 2 * CHANNELS, 2 * CHANNELS)
        super().__init__(image_channels, image_channels, plan(widths, 2 * FEATURES))
        self.time_embed = time_embedding(CHANNELS)
        self.vae_encoder = Encoder(image_channels)
        sizes = [LATENT] * 5 + [FEATURES]
        self.vae_projection = nn.Sequential(*(nn.Linear(LATENT, size) for size in sizes))

    def embed(self, t):
        """Of a level and the one below it."""
        return torch.cat([self.time_embed(step_waves(time, CHANNELS)) for time in (t, t - 1)], 1)

    def decode(self, x, embedding, latent, way):
        """What is added to x."""
        return self.run(x, torch.cat([embedding, self.vae_projection(latent)], 1), way)

    def forward(self, x, target, t, white, epsilon, way):
        """What is added to x, and the divergence of the latent in the mean over the batch."""
        embedding = self.embed(t)
        mean, logvar = self.vae_encoder(x, target, embedding, way)
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
        latent = mean + (0.5 * logvar).exp() * epsilon
        return self.decode(x + NOISE * white, embedding, latent, way), divergence


def blur_matrices():
    """B with D(x) = B x B^T, for levels 0 to T, the identity first: heat of widths 1 to the side, the last twice."""
    k = torch.arange(SIDE, dtype=torch.float64)
    cosines = torch.cos(math.pi * (2 * k + 1) * k[:, None] / (2 * SIDE)) * math.sqrt(2 / SIDE)
    cosines[0] /= math.sqrt(2)
    widths = [SIDE ** (i / (LEVELS - 2)) for i in range(LEVELS - 1)] + [SIDE]
    decays = [torch.exp(-((math.pi * k / SIDE) ** 2) * width**2 / 2) for width in widths]
    identity = torch.eye(SIDE, dtype=torch.float64)
    return torch.stack([identity] + [cosines.T @ (decay[:, None] * cosines) for decay in decays]).float()


def brightness():
    """What fading leaves, for levels 0 to T."""
    u = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
    left = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    left[-1] = 0
    return torch.cat([torch.ones(1, dtype=torch.float64), left]).float()


def network_of(tensors):
    net = Unet(tensors["pixels"].shape[1])
    net.load_state_dict(weights_below("network.", tensors))
    return net


class Problem(StepProblem):
    def __init__(self, tensors, layout):
        draws = [tensors[name] for name in ("level", "overlooked", "epsilon")]
        super().__init__(network_of(tensors), tensors["pixels"], draws, layout, rate=1e-4, decay=0.0, average_rate=0.998)
        self.blurs, self.fading = blur_matrices(), brightness()

    def degrade(self, x, level):
        blur = self.blurs[level][:, None]
        return self.fading[level][:, None, None, None] * (blur @ x @ blur.transpose(2, 3))

    def loss(self, images, level, white, epsilon):
        x0 = images.float() / 255
        x, target = self.degrade(x0, level), self.degrade(x0, level - 1)
        out, divergence = self.net(x, target, level - 1, white, epsilon, self.way)
        reconstruction = (target - (x + out)).square().flatten(1).sum(1).mean()
        return reconstruction + BETA * divergence

    def drawn(self):
        batch = len(self.images)
        level = torch.randint(1, LEVELS + 1, [batch], generator=self.generator)
        return level, self.normal(*self.images.shape), self.normal(batch, LATENT)
