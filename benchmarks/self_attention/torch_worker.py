"""PyTorch: scaled_dot_product_attention, its fused kernel, between the same projections."""

import torch
from torch.nn import functional

from benchmarks import worker
from benchmarks.self_attention import problem


def setup(options):
    torch.set_num_threads(options["threads"])
    sequence, upstream, kernels = problem.arrays(options)
    sequence = torch.tensor(sequence, requires_grad=True)
    upstream = torch.tensor(upstream)
    kernels = [torch.tensor(kernels[name], requires_grad=True) for name in problem.KERNELS]
    heads, width = options["heads"], options["width"]

    def split(kernel):
        projected = (sequence @ kernel).reshape(*sequence.shape[:2], heads, width)
        return projected.transpose(1, 2)

    def step():
        *projections, output = kernels
        context = functional.scaled_dot_product_attention(
            *(split(kernel) for kernel in projections), is_causal=options["causal"]
        )
        result = context.transpose(1, 2).reshape(sequence.shape) @ output
        loss = (result * upstream).sum()
        return result.detach(), torch.autograd.grad(loss, [sequence, *kernels])

    return worker.Work(
        step, lambda: problem.named(step()), {"versions": {"torch": torch.__version__}}
    )


if __name__ == "__main__":
    worker.serve(setup)
