"""What the other side of every benchmark of training has besides: updates of the network."""
import torch

from problem import Problem, serve_problems

# Steps whose losses both sides must agree on.
KNOWN_STEPS = 3


class Updates:
    """AdamW and the moving average, with the constants of the other side; no decay of biases."""

    def __init__(self, net, rate=2e-4, decay=0.01, average_rate=0.999):
        self.parameters = list(net.parameters())
        decayed = [p for n, p in net.named_parameters() if not n.endswith("bias")]
        plain = [p for n, p in net.named_parameters() if n.endswith("bias")]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}],
            lr=rate,
            betas=(0.9, 0.99),
            eps=1e-8,
            **({"fused": True} if self.parameters[0].is_cuda else {"foreach": True}),
        )
        self.average_rate = average_rate
        self.average = [p.detach().clone() for p in self.parameters]

    def __call__(self, loss):
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_mul_(self.average, self.average_rate)
            torch._foreach_add_(self.average, self.parameters, alpha=1 - self.average_rate)


class StepProblem(Problem):
    """With optimiser and average. A kind of it has `loss(images, *draws)`, and `drawn()`, fresh draws for the whole batch."""

    def __init__(self, net, images, draws, layout, **constants):
        super().__init__(net, images, layout)
        self.draws = draws
        self.update = Updates(net, **constants)
        # Of whole batches; the losses that both sides must agree on are never compiled.
        self.batch_loss = self.loss

    def known(self):
        """The losses of the first images at the problem's own draws, with an update by each."""
        self.net.eval()
        return [[self.known_step()] for _ in range(KNOWN_STEPS)]

    def known_step(self):
        loss = self.loss(self.images[: len(self.draws[0])], *self.draws)
        self.update(loss)
        return loss.item()

    def run(self):
        self.net.train()
        self.update(self.batch_loss(self.images, *self.drawn()))

    def compile(self):
        # With CUDA graphs of its own.
        self.batch_loss = torch.compile(self.loss, mode="reduce-overhead")


def serve_steps(make):
    """`make(tensors, layout)` is a StepProblem."""
    serve_problems(lambda tensors, layout, work: make(tensors, layout))
