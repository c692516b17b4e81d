"""What the other side of every benchmark of training does: read a problem, take steps, time them."""
import contextlib
import json
import struct
import time

import torch

from serve import serve

DTYPES = {"U8": torch.uint8, "I64": torch.int64, "F32": torch.float32, "F64": torch.float64}
FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


def read(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors


def weights_below(prefix, tensors):
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


class Way:
    """How a network computes: layout of its maps, and precision between its first convolution and its last."""

    def __init__(self, layout, device):
        self.format = FORMATS[layout]
        self.device = device
        self.precision = "float32"

    def lay(self, x):
        # clone, not contiguous: an image of one channel counts as either layout already and would run slowly.
        return x.clone(memory_format=self.format)

    def cast(self):
        half = self.precision == "bfloat16"
        return torch.autocast(self.device, dtype=torch.bfloat16) if half else contextlib.nullcontext()

    def inner(self, h):
        return h.bfloat16() if self.precision == "bfloat16" else h


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


class StepProblem:
    """One network, its optimiser and average, and one batch. A kind of it has `loss(images, *draws)`, and `drawn()`,
    fresh draws for the whole batch."""

    def __init__(self, net, images, draws, layout, **constants):
        self.net, self.images, self.draws = net, images, draws
        self.way = Way(layout, images.device.type)
        net.to(memory_format=self.way.format)
        self.update = Updates(net, **constants)
        self.generator = torch.Generator(images.device).manual_seed(1)
        # Of whole batches; the losses that both sides must agree on are never compiled.
        self.batch_loss = self.loss

    def normal(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def known_step(self):
        """The loss of the first images at the problem's own draws, without dropout, and one update by it."""
        self.net.eval()
        loss = self.loss(self.images[: len(self.draws[0])], *self.draws)
        self.update(loss)
        return loss.item()

    def step(self):
        self.net.train()
        self.update(self.batch_loss(self.images, *self.drawn()))

    def compile(self):
        # With CUDA graphs of its own.
        self.batch_loss = torch.compile(self.loss, mode="reduce-overhead")


def place(tensors, device):
    """On a CUDA device what a problem makes without saying where is made there as well (torch 2.0 and newer)."""
    if device == "cpu":
        return tensors
    torch.set_default_device(device)
    return {name: value.to(device) for name, value in tensors.items()}


def timed(problem, steps):
    """Seconds of steps, and the largest number of bytes that tensors took on the GPU."""
    on_cuda = problem.images.is_cuda
    wait = torch.cuda.synchronize if on_cuda else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        problem.step()
    wait()
    peak = {"peak": torch.cuda.max_memory_allocated()} if on_cuda else {}
    return {"seconds": time.perf_counter() - start, **peak}


def serve_steps(make):
    """`make(tensors, layout)` is a StepProblem."""
    problem = None

    def answer(
        path=None, layout=None, device="cpu", compiled=False, precision=None, threads=None, known=0, steps=1, reset=False
    ):
        nonlocal problem
        if threads is not None:
            torch.set_num_threads(threads)
        if path is not None:
            problem = make(place(read(path), device), layout)
            if compiled:
                problem.compile()
        if precision is not None:
            problem.way.precision = precision
        if known:
            return {"losses": [problem.known_step() for _ in range(known)]}
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return timed(problem, steps)

    serve(answer)
