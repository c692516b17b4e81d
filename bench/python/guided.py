"""The guided-diffusion U-Net, DDGM's simple loss and its training step in eager PyTorch, with the stock operators and the
usual advice for speed (channels-last, autocast, foreach). The names of the parameters are the official ones."""
import contextlib
import math

import torch
import torch.nn.functional as F
from torch import nn

from steps import Updates

CHANNELS, MULTIPLIERS, BLOCKS, HEADS = 64, (1, 2, 2), 3, 4
FEATURES = 4 * CHANNELS
STEPS = 500


class GroupNorm(nn.GroupNorm):
    """Always in float32."""

    def __init__(self, channels):
        super().__init__(32, channels)

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


class ResidualBlock(nn.Module):
    def __init__(self, channels_in, channels):
        super().__init__()
        self.in_layers = nn.Sequential(
            GroupNorm(channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(FEATURES, 2 * channels))
        self.out_layers = nn.Sequential(
            GroupNorm(channels), nn.SiLU(), nn.Identity(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        if channels_in != channels:
            self.skip_connection = nn.Conv2d(channels_in, channels, 1)
        else:
            self.skip_connection = nn.Identity()

    def forward(self, x, embedding):
        h = self.in_layers(x)
        scale, shift = self.emb_layers(embedding).to(h.dtype)[:, :, None, None].chunk(2, 1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        return self.skip_connection(x) + self.out_layers[1:](h)


class TokenConvolution(nn.Conv1d):
    """A window of one, as a matrix product: [B, L, in] -> [B, L, out]."""

    def __init__(self, features_in, features):
        super().__init__(features_in, features, 1)

    def forward(self, tokens):
        return F.linear(tokens, self.weight.squeeze(2), self.bias)


class AttentionBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = GroupNorm(channels)
        self.qkv = TokenConvolution(channels, 3 * channels)
        self.proj_out = TokenConvolution(channels, channels)

    def forward(self, x, embedding):
        batch, channels, height, width = x.shape
        length, features = height * width, channels // HEADS
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(batch, length, channels)
        qkv = self.qkv(tokens).reshape(batch, length, HEADS, 3, features).permute(3, 0, 2, 1, 4)
        q, k, v = qkv.reshape(3, batch * HEADS, length, features)
        scale = features**-0.25
        scores = (q * scale) @ (k * scale).transpose(1, 2)
        attended = scores.float().softmax(-1).to(scores.dtype) @ v
        joined = attended.reshape(batch, HEADS, length, features).transpose(1, 2)
        out = self.proj_out(joined.reshape(batch, height, width, channels))
        return x + out.permute(0, 3, 1, 2)


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x, embedding):
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, embedding):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def through(layers, x, embedding):
    for layer in layers:
        x = layer(x, embedding)
    return x


def step_embedding(t):
    half = CHANNELS // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000) / half))
    args = t[:, None] * frequencies
    return torch.cat([args.cos(), args.sin()], 1).float()


class Unet(nn.Module):
    def __init__(self, image_channels, factors):
        """`factors`: how many times smaller than the image the maps with attention are."""
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(CHANNELS, FEATURES), nn.SiLU(), nn.Linear(FEATURES, FEATURES))
        width = MULTIPLIERS[0] * CHANNELS
        widths = [width]
        inputs = [[nn.Conv2d(image_channels, width, 3, padding=1)]]

        def block(width_in, width, factor):
            layers = [ResidualBlock(width_in, width)]
            return layers + [AttentionBlock(width)] if factor in factors else layers

        for level, multiplier in enumerate(MULTIPLIERS):
            for _ in range(BLOCKS):
                inputs.append(block(width, multiplier * CHANNELS, 2**level))
                width = multiplier * CHANNELS
                widths.append(width)
            if level < len(MULTIPLIERS) - 1:
                inputs.append([Downsample(width)])
                widths.append(width)
        middle = [ResidualBlock(width, width), AttentionBlock(width), ResidualBlock(width, width)]
        outputs = []
        for level, multiplier in reversed(list(enumerate(MULTIPLIERS))):
            for i in range(BLOCKS + 1):
                layers = block(width + widths.pop(), multiplier * CHANNELS, 2**level)
                width = multiplier * CHANNELS
                if level > 0 and i == BLOCKS:
                    layers.append(Upsample(width))
                outputs.append(layers)
        self.input_blocks = nn.ModuleList(nn.ModuleList(layers) for layers in inputs)
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks = nn.ModuleList(nn.ModuleList(layers) for layers in outputs)
        self.out = nn.Sequential(GroupNorm(width), nn.SiLU(), nn.Conv2d(width, image_channels, 3, padding=1))

    def forward(self, x, t, precision):
        embedding = self.time_embed(step_embedding(t))
        # clone, not contiguous: an image of one channel counts as channels-last already and would run slowly.
        stem = self.input_blocks[0][0](x.clone(memory_format=torch.channels_last))
        half = precision == "bfloat16"
        cast = torch.autocast("cpu", dtype=torch.bfloat16) if half else contextlib.nullcontext()
        with cast:
            h = stem.bfloat16() if half else stem
            skips = [h]
            for layers in self.input_blocks[1:]:
                h = through(layers, h, embedding)
                skips.append(h)
            h = through(self.middle_block, h, embedding)
            for layers in self.output_blocks:
                h = through(layers, torch.cat([h, skips.pop()], 1), embedding)
        return self.out(h.float())


def factors_of(weights):
    """Where a network with these weights has attention: every block behind a residual one with a `qkv`."""
    per_level = BLOCKS + 1
    blocks = {int(name.split(".")[1]) for name in weights if name.startswith("input_blocks.") and ".qkv." in name}
    return {2 ** ((block - 1) // per_level) for block in blocks}


class Problem:
    """One network, its optimiser and average, and one batch."""

    def __init__(self, tensors):
        prefix = "network."
        weights = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        self.images = tensors["pixels"]
        self.draws = tensors["t"], tensors["noise"]
        self.net = Unet(self.images.shape[1], factors_of(weights))
        self.net.load_state_dict(weights)
        self.net.to(memory_format=torch.channels_last)
        self.precision = "float32"
        self.update = Updates(self.net)
        self.generator = torch.Generator().manual_seed(1)
        betas = torch.linspace(0.001, 0.02, STEPS, dtype=torch.float64) * (1000 / STEPS)
        abar = (1 - betas).cumprod(0)
        self.of_image, self.of_noise = abar.sqrt().float(), (1 - abar).sqrt().float()

    def loss(self, t, noise):
        x0 = self.images.float() / 127.5 - 1
        at = lambda table: table[t][:, None, None, None]
        xt = at(self.of_image) * x0 + at(self.of_noise) * noise
        return (noise - self.net(xt, t, self.precision)).square().mean()

    def known_step(self):
        """The loss at the problem's own draws, and one update by it."""
        loss = self.loss(*self.draws)
        self.update(loss)
        return loss.item()

    def step(self):
        t = torch.randint(0, STEPS, [self.images.shape[0]], generator=self.generator)
        noise = torch.randn(self.images.shape, generator=self.generator)
        self.update(self.loss(t, noise))
