"""Small operators in a plain Python loop."""
import timeit

import torch

from serve import serve

torch.set_num_threads(1)
a, b = torch.full((4,), 1.5), torch.full((4,), 2.5)
w = torch.full((4,), 0.5, requires_grad=True)
statements = {
    "add": "a.add(b)",
    "mul": "a.mul(b)",
    "sum": "a.sum()",
    "add-autograd": "w.add(b)",
    "mul-autograd": "w.mul(b)",
    "sum-autograd": "w.sum()",
}


def answer(name, count):
    return {"seconds": timeit.timeit(statements[name], globals=globals(), number=count)}


serve(answer)
