"""What the other side of every benchmark of training does: read a problem, take steps, time them."""
import json
import struct
import time

import torch

from serve import serve

DTYPES = {"U8": torch.uint8, "I64": torch.int64, "F32": torch.float32, "F64": torch.float64}


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


class Updates:
    """AdamW and the moving average, with the constants of the other side; no decay of biases."""

    def __init__(self, net):
        self.parameters = list(net.parameters())
        decayed = [p for n, p in net.named_parameters() if not n.endswith("bias")]
        plain = [p for n, p in net.named_parameters() if n.endswith("bias")]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
            lr=2e-4,
            betas=(0.9, 0.99),
            eps=1e-8,
            foreach=True,
        )
        self.average = [p.detach().clone() for p in self.parameters]

    def __call__(self, loss):
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_mul_(self.average, 0.999)
            torch._foreach_add_(self.average, self.parameters, alpha=0.001)


def serve_steps(make):
    """`make(tensors)` is a problem with `known_step`, `step` and a settable `precision`."""
    problem = None

    def answer(path=None, precision=None, threads=None, known=0):
        nonlocal problem
        if threads is not None:
            torch.set_num_threads(threads)
        if path is not None:
            problem = make(read(path))
        if precision is not None:
            problem.precision = precision
        if known:
            return {"losses": [problem.known_step() for _ in range(known)]}
        start = time.perf_counter()
        problem.step()
        return {"seconds": time.perf_counter() - start}

    serve(answer)
