"""The guided-diffusion U-Net of Fashion-MNIST, DDGM's simple loss and its training step in eager PyTorch."""
import torch

from problem import weights_below
from steps import StepProblem
from unet import Plan, Trunk, step_waves, time_embedding

CHANNELS, BLOCKS = 64, 3
STEPS = 500


class Unet(Trunk):
    def __init__(self, image_channels, attention):
        plan = Plan(
            widths=(CHANNELS, 2 * CHANNELS, 2 * CHANNELS),
            blocks=BLOCKS,
            attention=attention,
            features=4 * CHANNELS,
            heads=4,
            scale_shift=True,
        )
        super().__init__(image_channels, image_channels, plan)
        self.time_embed = time_embedding(CHANNELS)

    def forward(self, x, t, way):
        return self.run(x, self.time_embed(step_waves(t, CHANNELS)), way)


def levels_with_attention(weights):
    """Of a network with these weights: every block behind a residual one with a `qkv`."""
    blocks = {int(name.split(".")[1]) for name in weights if name.startswith("input_blocks.") and ".qkv." in name}
    return frozenset((block - 1) // (BLOCKS + 1) for block in blocks)


def network_of(tensors):
    weights = weights_below("network.", tensors)
    net = Unet(tensors["pixels"].shape[1], levels_with_attention(weights))
    net.load_state_dict(weights)
    return net


def encode(images):
    return images.float() / 127.5 - 1


def chain_betas():
    return torch.linspace(0.001, 0.02, STEPS, dtype=torch.float64) * (1000 / STEPS)


class Problem(StepProblem):
    def __init__(self, tensors, layout):
        super().__init__(network_of(tensors), tensors["pixels"], [tensors["t"], tensors["noise"]], layout)
        abar = (1 - chain_betas()).cumprod(0)
        self.of_image, self.of_noise = abar.sqrt().float(), (1 - abar).sqrt().float()

    def loss(self, images, t, noise):
        x0 = encode(images)
        at = lambda table: table[t][:, None, None, None]
        xt = at(self.of_image) * x0 + at(self.of_noise) * noise
        return (noise - self.net(xt, t, self.way)).square().mean()

    def drawn(self):
        t = torch.randint(0, STEPS, [len(self.images)], generator=self.generator)
        return t, self.normal(*self.images.shape)
