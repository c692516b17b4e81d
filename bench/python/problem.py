"""What the other side of every benchmark of a network does: read a problem, do its work, time it."""
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


class Problem:
    """One network and a batch of images. A kind of it has `known()`, lists of values for its own draws without dropout, and
    `run()`, the work with fresh draws for the whole batch."""

    def __init__(self, net, images, layout):
        self.net, self.images = net, images
        self.way = Way(layout, images.device.type)
        net.to(memory_format=self.way.format)
        self.generator = torch.Generator(images.device).manual_seed(1)

    def normal(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def spread_times(self):
        """In [0, 1), one an image, evenly spread over the batch."""
        batch = len(self.images)
        u0 = torch.rand([], generator=self.generator, dtype=torch.float64)
        return (torch.arange(batch, dtype=torch.float64) / batch + u0) % 1


def place(tensors, device):
    """On a CUDA device what a problem makes without saying where is made there as well (torch 2.0 and newer)."""
    if device == "cpu":
        return tensors
    torch.set_default_device(device)
    return {name: value.to(device) for name, value in tensors.items()}


def timed(problem, runs):
    """Seconds of runs, and the largest number of bytes that tensors took on the GPU."""
    on_cuda = problem.images.is_cuda
    wait = torch.cuda.synchronize if on_cuda else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(runs):
        problem.run()
    wait()
    peak = {"peak": torch.cuda.max_memory_allocated()} if on_cuda else {}
    return {"seconds": time.perf_counter() - start, **peak}


def serve_problems(make):
    """`make(tensors, layout, work)` is a Problem."""
    problem = None

    def answer(
        path=None,
        layout=None,
        work=None,
        device="cpu",
        compiled=False,
        precision=None,
        threads=None,
        known=False,
        runs=1,
        reset=False,
    ):
        nonlocal problem
        if threads is not None:
            torch.set_num_threads(threads)
        if path is not None:
            problem = make(place(read(path), device), layout, work)
            if compiled:
                problem.compile()
        if precision is not None:
            problem.way.precision = precision
        if known:
            return {"known": problem.known()}
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return timed(problem, runs)

    serve(answer)
