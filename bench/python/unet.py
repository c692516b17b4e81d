"""The guided-diffusion U-Net without what it is told, in eager PyTorch with the stock operators. The names of the parameters
are the official ones."""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Plan:
    # One a level, each level half as high and wide as the last.
    widths: tuple
    # A level, on the way down; the way up has one more.
    blocks: int
    # Numbers of the levels with attention; it stands in the middle always.
    attention: frozenset
    # Width of the embedding.
    features: int
    heads: int = 1
    # Whether the embedding scales behind the second norm too, or is added before it.
    scale_shift: bool = False
    dropout: float = 0.0


class GroupNorm(nn.GroupNorm):
    """Always in float32."""

    def __init__(self, channels):
        super().__init__(32, channels)

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


class ResidualBlock(nn.Module):
    def __init__(self, channels_in, channels, plan):
        super().__init__()
        self.scale_shift = plan.scale_shift
        self.in_layers = nn.Sequential(
            GroupNorm(channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels, 3, padding=1)
        )
        numbers = 2 * channels if plan.scale_shift else channels
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(plan.features, numbers))
        self.out_layers = nn.Sequential(
            GroupNorm(channels), nn.SiLU(), nn.Dropout(plan.dropout), nn.Conv2d(channels, channels, 3, padding=1)
        )
        if channels_in != channels:
            self.skip_connection = nn.Conv2d(channels_in, channels, 1)
        else:
            self.skip_connection = nn.Identity()

    def forward(self, x, embedding):
        h = self.in_layers(x)
        e = self.emb_layers(embedding).to(h.dtype)[:, :, None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, 1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + e)
        return self.skip_connection(x) + h


def over_tokens(convolution, tokens):
    """A window of one, as a matrix product: [B, L, in] -> [B, L, out]."""
    return F.linear(tokens, convolution.weight.squeeze(2), convolution.bias)


class AttentionBlock(nn.Module):
    """Over contiguous maps as published; over channels-last ones without moving the channels."""

    def __init__(self, channels, plan):
        super().__init__()
        self.heads = plan.heads
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, embedding):
        return x + (self.published(x) if x.is_contiguous() else self.channels_last(x))

    def published(self, x):
        batch, channels, height, width = x.shape
        length, features = height * width, channels // self.heads
        qkv = self.qkv(self.norm(x).reshape(batch, channels, length))
        q, k, v = qkv.reshape(batch * self.heads, 3 * features, length).split(features, 1)
        scale = features**-0.25
        scores = torch.einsum("bct,bcs->bts", q * scale, k * scale)
        attended = torch.einsum("bts,bcs->bct", scores.float().softmax(-1).to(scores.dtype), v)
        return self.proj_out(attended.reshape(batch, channels, length)).reshape(x.shape)

    def channels_last(self, x):
        batch, channels, height, width = x.shape
        length, features = height * width, channels // self.heads
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(batch, length, channels)
        qkv = over_tokens(self.qkv, tokens).reshape(batch, length, self.heads, 3, features).permute(3, 0, 2, 1, 4)
        q, k, v = qkv.reshape(3, batch * self.heads, length, features)
        scale = features**-0.25
        scores = (q * scale) @ (k * scale).transpose(1, 2)
        attended = scores.float().softmax(-1).to(scores.dtype) @ v
        joined = attended.reshape(batch, self.heads, length, features).transpose(1, 2)
        return over_tokens(self.proj_out, joined.reshape(batch, height, width, channels)).permute(0, 3, 1, 2)


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


def time_embedding(channels):
    return nn.Sequential(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels))


def step_waves(t, channels):
    half = channels // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000) / half))
    args = t[:, None] * frequencies
    return torch.cat([args.cos(), args.sin()], 1).float()


def block(width_in, width, level, plan):
    layers = [ResidualBlock(width_in, width, plan)]
    return layers + [AttentionBlock(width, plan)] if level in plan.attention else layers


def blocks_of(lists):
    return nn.ModuleList(nn.ModuleList(layers) for layers in lists)


def way_down(channels_in, plan):
    """The input blocks, and the widths of what they leave."""
    width = plan.widths[0]
    blocks, widths = [[nn.Conv2d(channels_in, width, 3, padding=1)]], [width]
    for level, level_width in enumerate(plan.widths):
        for _ in range(plan.blocks):
            blocks.append(block(width, level_width, level, plan))
            width = level_width
            widths.append(width)
        if level < len(plan.widths) - 1:
            blocks.append([Downsample(width)])
            widths.append(width)
    return blocks_of(blocks), widths


def through(layers, x, embedding):
    for layer in layers:
        x = layer(x, embedding)
    return x


def descend(input_blocks, first, embedding):
    """What every input block leaves, the first of them given."""
    states = [first]
    for layers in input_blocks[1:]:
        states.append(through(layers, states[-1], embedding))
    return states


class Trunk(nn.Module):
    def __init__(self, channels_in, channels_out, plan):
        super().__init__()
        self.input_blocks, widths = way_down(channels_in, plan)
        width = widths[-1]
        self.middle_block = nn.ModuleList(
            [ResidualBlock(width, width, plan), AttentionBlock(width, plan), ResidualBlock(width, width, plan)]
        )
        outputs = []
        for level, level_width in reversed(list(enumerate(plan.widths))):
            for i in range(plan.blocks + 1):
                layers = block(width + widths.pop(), level_width, level, plan)
                width = level_width
                if level > 0 and i == plan.blocks:
                    layers.append(Upsample(width))
                outputs.append(layers)
        self.output_blocks = blocks_of(outputs)
        self.out = nn.Sequential(GroupNorm(width), nn.SiLU(), nn.Conv2d(width, channels_out, 3, padding=1))

    def run(self, x, embedding, way):
        stem = self.input_blocks[0][0](way.lay(x))
        with way.cast():
            skips = descend(self.input_blocks, way.inner(stem), embedding)
            h = through(self.middle_block, skips[-1], embedding)
            for layers in self.output_blocks:
                h = through(layers, torch.cat([h, skips.pop()], 1), embedding)
        return self.out(h.float())
