"""What bounds our kernels, by count: `python -m benchmarks.roofline --page docs/benchmarks.md`.

Needs no GPU: JAX compiles the kernels for the processor, and `hlo_count` counts them. A compiler
for GPUs makes other kernels of the same operations, which may move fewer bytes.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import time

import numpy as np

from benchmarks import environments, report, translator
from benchmarks.cases import additive, self_attention, training_step
from benchmarks.hlo_count import count
from examples.common.files import write

START, END = "<!-- roofline -->", "<!-- end of roofline -->"

# Operations and bytes per second, and the share of float32's bytes that moves. By NVIDIA's data
# sheets of the H100 and the H200 (SXM): 67 TFLOP/s in float32 without tensor cores, 989 in bfloat16
# with them (dense; the sheets print twice that, with sparsity), 3.35 and 4.8 TB/s.
MACHINES = {
    "H100, float32": (67e12, 3.35e12, 1),
    "H200, float32": (67e12, 4.8e12, 1),
    "H200, bfloat16": (989e12, 4.8e12, 1 / 2),
}


def _additive():
    """Returns the compiled step of additive attention, and its matrix products' operations."""
    sizes = additive.CASE.points[0]
    batch, length, units = sizes["batch"], sizes["length"], sizes["units"]
    projections, contexts = 2 * batch * length * units**2, batch * length**2 * units
    products = 2 * 3 * (projections + contexts)
    return additive.keras_attention({**sizes, "jit_compile": True}).step.lower(), products


def _self_attention():
    """Returns the same of self-attention, of which seven products have (length, length): the
    gradient computes the scores again.
    """
    sizes = self_attention.CASE.points[0]
    rows, width = sizes["batch"] * sizes["length"], sizes["heads"] * sizes["width"]
    products = 2 * (3 * 4 * rows * width**2 + 7 * rows * sizes["length"] * width)
    return self_attention.keras_attention({**sizes, "jit_compile": True}).step.lower(), products


def _training_step():
    """Returns the same of a step. The products are those of the GEMM floor, without attention's."""
    import jax

    import keras_attention as ka

    sizes = training_step.CASE.points[0]
    products = training_step.products(sizes)
    *inputs, target_out = translator.draw_batch(sizes)
    model = translator.keras_attention(sizes)
    model.compile("adam", ka.losses.LinearCrossentropy())
    model.optimizer.build(model.trainable_variables)
    parts = (model.trainable_variables, model.non_trainable_variables)
    parts += (model.optimizer.variables, model.metrics_variables)
    state = tuple([variable.value for variable in part] for part in parts)
    return jax.jit(model.train_step).lower(state, (tuple(inputs), target_out)), products


KERNELS = {
    "additive attention, B=4, T=S=512": _additive,
    "self-attention, T=4096": _self_attention,
    "training step, Bahdanau": _training_step,
}


def bound(counts: dict, machine: tuple) -> tuple[float, str]:
    """Returns an estimate of a machine's seconds for these counts, and what bounds it."""
    operations, bandwidth, size = machine
    bounds = {"arithmetic": counts["flop"] / operations}
    bounds["memory"] = counts["bytes"] * size / bandwidth
    name = max(bounds, key=bounds.get)
    return bounds[name], name


def this_processor() -> tuple[float, float, int]:
    """Returns the most that products and copies of large arrays reach here, as in `MACHINES`."""
    size = 2048
    a, b, result = (np.ones((size, size), "float32") for _ in range(3))
    source, target = (np.ones((os.cpu_count(), 2**25), "float32") for _ in range(2))

    def least(function):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    operations = 2 * size**3 / least(lambda: np.matmul(a, b, out=result))
    with concurrent.futures.ThreadPoolExecutor() as threads:  # as many as products have
        seconds = least(lambda: list(threads.map(np.copyto, target, source)))
    return operations, 2 * source.nbytes / seconds, 1


def table(counts: dict, machines: dict) -> str:
    """Returns both tables as markdown: the counts, and the bounds that follow."""
    lines = [
        "| | GFLOP | of which products, by hand | MB moved | inputs and results, MB | FLOP/B |"
    ]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for name, each in counts.items():
        ratio = each["flop"] / each["bytes"]
        sizes = (each["flop"] / 1e9, each["products"] / 1e9, each["bytes"] / 1e6)
        columns = [f"{size:.0f}" for size in (*sizes, each["least bytes"] / 1e6)]
        lines.append(f"| {' | '.join([name, *columns, f'{ratio:.1f}'])} |")
    heads = (
        f"{name}: {ops / 1e12:.3g} TFLOP/s, {bandwidth / 1e12:.3g} TB/s"
        for name, (ops, bandwidth, _) in machines.items()
    )
    lines += ["", f"| estimate, ms | {' | '.join(heads)} |", f"|---|{'---:|' * len(machines)}"]
    for name, each in counts.items():
        cells = (bound(each, machine) for machine in machines.values())
        cells = (f"{_short(1000 * seconds)}, {what}" for seconds, what in cells)
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join([*lines, ""])


def _short(number):
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.roofline")
    parser.add_argument("--page", type=pathlib.Path, help=f"put the tables into it, after {START}")
    parser.add_argument("--jax", metavar="PYTHON", help="has Keras and JAX; by default in .bench/")
    parser.add_argument("--count", action="store_true", help="only count, with this Python")
    settings = parser.parse_args(arguments)
    if settings.page and START not in settings.page.read_text():
        parser.error(f"--page {settings.page} has no line {START}")
    if settings.count:
        kernels = ((name, kernel()) for name, kernel in KERNELS.items())
        found = {n: {**count(each.compile()), "products": p} for n, (each, p) in kernels}
        print(json.dumps(found))
        return
    python = os.path.abspath(settings.jax or environments.python("jax"))
    root = pathlib.Path(__file__).parent.parent
    variables = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": ""}
    command = [python, "-m", "benchmarks.roofline", "--count"]
    done = subprocess.run(command, cwd=root, env=variables, stdout=subprocess.PIPE, check=True)
    counts = json.loads(done.stdout.splitlines()[-1])
    text = table(counts, {**MACHINES, "this processor": this_processor()})
    print(text)
    if settings.page:
        write(settings.page, report.fill(settings.page.read_text(), START, END, text))


if __name__ == "__main__":
    main()
