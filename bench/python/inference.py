"""What the other side of every benchmark of sampling and of the bound does."""
import torch

from problem import Problem


class Sampling(Problem):
    """A walk of `steps` steps from states `[steps, images, C, H, W]` of the other side. A kind of it has `start()`, fresh
    draws for the whole batch: the first state and what `step(x, i, draws)` needs; and `decode(x)`, pixels."""

    def __init__(self, net, tensors, draws, layout):
        super().__init__(net.eval(), tensors["pixels"], layout)
        self.states, self.draws = tensors["states"], draws
        self.steps = len(self.states)

    @torch.no_grad()
    def known(self):
        """Where each of the states leads."""
        return [self.step(x, i, self.draws).flatten().tolist() for i, x in enumerate(self.states)]

    @torch.no_grad()
    def run(self):
        x, draws = self.start()
        for i in range(self.steps):
            x = self.step(x, i, draws)
        self.decode(x)


class NoiseSampling(Sampling):
    """From noise, with noise at every step: `draws(i)` draws it."""

    def __init__(self, net, tensors, layout):
        super().__init__(net, tensors, lambda i: tensors["noise"][i], layout)

    def start(self):
        shape = self.images.shape
        return self.normal(*shape), lambda i: self.normal(*shape)


class Likelihood(Problem):
    """A kind of it has `terms(images, t, noise, noise0)`: the bound's terms of each image, in nats."""

    def __init__(self, net, tensors, layout):
        super().__init__(net.eval(), tensors["pixels"], layout)
        self.draws = [tensors[name] for name in ("t", "noise", "noise0")]

    @torch.no_grad()
    def known(self):
        terms = self.terms(self.images[: len(self.draws[0])], *self.draws)
        return [term.tolist() for term in terms]

    @torch.no_grad()
    def run(self):
        sum(self.terms(self.images, *self.drawn())).tolist()

    def drawn(self):
        return self.spread_times(), self.normal(*self.images.shape), self.normal(*self.images.shape)
