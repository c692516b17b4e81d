"""VDM's network, loss and training step in eager PyTorch with the stock operators. The names of the parameters are those of
the other side."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from problem import weights_below
from steps import StepProblem

GAMMA_MIN, GAMMA_MAX = -13.3, 5.0
LEVELS = 256
EXPONENTS = (6, 7)


class GroupNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        # Under autocast torch 1.13 refuses float32 weights beside a bfloat16 input.
        return F.group_norm(x, 32, self.weight.to(x.dtype), self.bias.to(x.dtype), 1e-6)


class ResidualBlock(nn.Module):
    def __init__(self, channels_in, channels, features):
        super().__init__()
        self.norm1 = GroupNorm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conditionProjection = nn.Linear(features, channels, bias=False)
        self.norm2 = GroupNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else None

    def forward(self, x, condition):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.conditionProjection(condition)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return (x if self.shortcut is None else self.shortcut(x)) + h


class AttentionBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = GroupNorm(channels)
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x):
        batch, channels, height, width = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        q = self.q(tokens) * channels**-0.5
        scores = q @ self.k(tokens).transpose(1, 2)
        attended = scores.float().softmax(-1).to(scores.dtype) @ self.v(tokens)
        return x + self.out(attended).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class Stage(nn.Module):
    def __init__(self, channels_in, channels):
        super().__init__()
        self.block = ResidualBlock(channels_in, channels, 4 * channels)

    def forward(self, x, condition):
        return self.block(x, condition)


class Middle(nn.Module):
    def __init__(self, channels, attention):
        super().__init__()
        self.block1 = ResidualBlock(channels, channels, 4 * channels)
        self.attention = AttentionBlock(channels) if attention else nn.Identity()
        self.block2 = ResidualBlock(channels, channels, 4 * channels)

    def forward(self, x, condition):
        return self.block2(self.attention(self.block1(x, condition)), condition)


def timestep_embedding(tau, dim):
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, dtype=tau.dtype) * (-math.log(10000) / (half - 1)))
    args = 1000 * tau[:, None] * frequencies
    return torch.cat([args.sin(), args.cos()], 1)


def fourier_features(z):
    w = torch.tensor([2 * math.pi * 2**n for n in EXPONENTS], dtype=torch.float64).to(z.dtype)
    args = (z[:, :, None] * w[None, None, :, None, None]).flatten(1, 2)
    return torch.cat([args.sin(), args.cos()], 1)


class Unet(nn.Module):
    def __init__(self, image_channels, channels, depth, attention):
        super().__init__()
        self.channels = channels
        self.dense0 = nn.Linear(channels + 1, 4 * channels)
        self.dense1 = nn.Linear(4 * channels, 4 * channels)
        self.convIn = nn.Conv2d(image_channels * (1 + 2 * len(EXPONENTS)), channels, 3, padding=1)
        self.down = nn.ModuleList(Stage(channels, channels) for _ in range(depth))
        self.middle = Middle(channels, attention)
        self.up = nn.ModuleList(Stage(2 * channels, channels) for _ in range(depth + 1))
        self.normOut = GroupNorm(channels)
        self.convOut = nn.Conv2d(channels, image_channels, 3, padding=1)

    def forward(self, z, gamma, way):
        tau = (gamma - GAMMA_MIN) / (GAMMA_MAX - GAMMA_MIN)
        embedding = timestep_embedding(tau, self.channels).to(z.dtype)
        c = torch.cat([embedding, z.new_zeros(z.shape[0], 1)], 1)
        c = F.silu(self.dense1(F.silu(self.dense0(c))))
        stem = self.convIn(way.lay(torch.cat([z, fourier_features(z)], 1)))
        with way.cast():
            h = way.inner(stem)
            hs = [h]
            for stage in self.down:
                h = stage(h, c)
                hs.append(h)
            h = self.middle(h, c)
            for stage in self.up:
                h = stage(torch.cat([h, hs.pop()], 1), c)
            h = F.silu(self.normOut(h))
        return self.convOut(h.to(z.dtype)) + z


def encode(x):
    return (x + 0.5) * (2 / LEVELS) - 1


def pixel_log_likelihood(x, y, gamma0):
    """A softmax over the bins near y: the noise of z_0 is narrower than a bin."""

    def logits(values, at):
        return -0.5 * ((at - values) * math.exp(-0.5 * gamma0)) ** 2

    radius = math.ceil(12 * math.exp(gamma0 / 2) * LEVELS / 2) + 2
    offsets = torch.arange(-radius, radius + 1, dtype=y.dtype)
    bins = ((y + 1) * (LEVELS / 2)).floor().clamp(0, LEVELS - 1)[..., None] + offsets
    outside = ((bins < 0) | (bins >= LEVELS)).to(y.dtype) * -1e30
    total = torch.logsumexp(logits(encode(bins), y[..., None]) + outside, -1)
    return logits(encode(x), y) - total


def level(gamma, like):
    """alpha and sigma of each image."""
    alpha, sigma = torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
    return [factor.to(like.dtype)[:, None, None, None] for factor in (alpha, sigma)]


def network_of(tensors):
    weights = weights_below("denoiser.", tensors)
    depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("down."))
    channels = weights["normOut.weight"].shape[0]
    net = Unet(tensors["pixels"].shape[1], channels, depth, "middle.attention.q.weight" in weights)
    net.load_state_dict(weights)
    return net


def bound_terms(net, way, images, t, eps, eps0):
    """Nats per image."""
    x = images.float()
    f = encode(x)
    dimensions = f[0].numel()
    # 1. Reconstruction
    reconstruction = -pixel_log_likelihood(x, f + math.exp(GAMMA_MIN / 2) * eps0, GAMMA_MIN).flatten(1).sum(1).double()
    # 2. Prior
    gamma1 = torch.tensor(GAMMA_MAX, dtype=torch.float64)
    alpha2 = torch.sigmoid(-gamma1)
    squares = f.square().flatten(1).sum(1).double()
    prior = 0.5 * (squares * alpha2 + dimensions * (F.softplus(-gamma1, threshold=60) - alpha2))
    # 3. Diffusion
    gamma = GAMMA_MIN + (GAMMA_MAX - GAMMA_MIN) * t
    alpha, sigma = level(gamma, f)
    out = net(alpha * f + sigma * eps, gamma, way)
    error = (eps - out).square().flatten(1).sum(1).double()
    diffusion = 0.5 * (GAMMA_MAX - GAMMA_MIN) * error
    return reconstruction, prior, diffusion


class Problem(StepProblem):
    def __init__(self, tensors, layout):
        draws = [tensors[name] for name in ("t", "eps", "eps0")]
        super().__init__(network_of(tensors), tensors["pixels"], draws, layout)

    def loss(self, images, *draws):
        bound = sum(bound_terms(self.net, self.way, images, *draws))
        return (bound / (images[0].numel() * math.log(2))).mean()

    def drawn(self):
        return self.spread_times(), self.normal(*self.images.shape), self.normal(*self.images.shape)
