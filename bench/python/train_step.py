"""Reads a problem from a safetensors file, then takes steps and times them."""
import json
import struct
import time

import torch

from serve import serve
from vdm import Problem

DTYPES = {"U8": torch.uint8, "F32": torch.float32, "F64": torch.float64}
problem = None


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


def answer(path=None, precision=None, threads=None, known=0):
    global problem
    if threads is not None:
        torch.set_num_threads(threads)
    if path is not None:
        problem = Problem(read(path))
    if precision is not None:
        problem.precision = precision
    if known:
        return {"losses": [problem.known_step() for _ in range(known)]}
    start = time.perf_counter()
    problem.step()
    return {"seconds": time.perf_counter() - start}


serve(answer)
