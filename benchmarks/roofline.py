"""What bounds our kernels, by count: `python -m benchmarks.roofline --page docs/benchmarks.md`.

Needs no GPU. JAX compiles the kernels for the processor, and XLA counts their operations and the
bytes that go to and from memory. It counts the body of a loop once; here, it counts as often as it
runs. A compiler for GPUs makes other kernels of the same operations, which may move fewer bytes.
"""

import argparse
import functools
import json
import os
import pathlib
import re
import subprocess
import time

import numpy as np

from benchmarks import environments, translator
from benchmarks.cases import additive, self_attention, training_step

START, END = "<!-- roofline -->", "<!-- end of roofline -->"

# Operations and bytes per second, and the share of float32's bytes that moves. By NVIDIA's data
# sheets of the H100 and the H200 (SXM): 67 TFLOP/s in float32 without tensor cores, 989 in bfloat16
# with them (dense; the sheets print twice that, with sparsity), 3.35 and 4.8 TB/s.
MACHINES = {
    "H100, float32": (67e12, 3.35e12, 1),
    "H200, float32": (67e12, 4.8e12, 1),
    "H200, bfloat16": (989e12, 4.8e12, 1 / 2),
}


def count(compiled) -> dict:
    """Returns what a function that JAX compiled takes: "flop", "bytes" and "least bytes".

    The last are those of its arguments and results, which no compiler can avoid.
    """
    import jax
    from jaxlib import xla_client

    text, client = compiled.as_text(), jax.devices("cpu")[0].client
    text = re.sub("^HloModule .*$", "HloModule counted, is_scheduled=true", text, flags=re.M)
    computations = dict(re.findall(r"^(?:ENTRY )?(%\S+) \((.*?)^\}", text, re.M | re.S))
    entry = re.search(r"^ENTRY (%\S+)", text, re.M).group(1)

    @functools.cache
    def once(name):
        """Counts a computation, and the loops that it holds once, as XLA does."""
        as_entry = re.sub("^ENTRY ", "", text, flags=re.M)
        as_entry = re.sub(rf"^{re.escape(name)} \(", r"ENTRY \g<0>", as_entry, flags=re.M)
        module = xla_client.hlo.hlo_module_from_text(as_entry)
        costs = xla_client._xla.hlo_module_cost_analysis(client, module)
        named = ("flops", "transcendentals", "bytes accessed")
        flops, transcendentals, moved = (costs.get(each, 0) for each in named)
        return np.array([flops + transcendentals, moved])

    @functools.cache
    def total(name):
        inner = _inner(computations, name)
        return once(name) + sum(trips * total(each) - once(each) for each, trips in inner)

    sizes = compiled.memory_analysis()
    least = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    return {
        **dict(zip(("flop", "bytes"), total(entry).tolist(), strict=True)),
        "least bytes": least,
    }


def _inner(computations, name):
    """Returns the computations that one runs in loops or calls, and how often it runs each."""
    inner = []
    for line in computations[name].splitlines():
        if called := re.search(r" call\(.* to_apply=(%[\w.-]+)", line):
            inner.append((called.group(1), 1))
        if loop := re.search(r" while\(.* condition=(%[\w.-]+), body=(%[\w.-]+)", line):
            # The library's loops count from 0 to a number of their condition. XLA doesn't know how
            # often they run, since the counter depends on the state: see `_ops/while_loop.py`.
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            bounds = re.findall(r"s32\[\] constant\((\d+)\)", computations[loop.group(1)])
            if not known and len(bounds) != 1:
                raise ValueError(f"unknown number of trips: {line.strip()[:200]}")
            inner.append((loop.group(2), int(known.group(1) if known else bounds[0])))
    return inner


def _additive():
    """Returns the compiled step of additive attention, and its matrix products' operations."""
    sizes = additive.CASE.points[0]
    batch, length, units = sizes["batch"], sizes["length"], sizes["units"]
    projections, contexts = 2 * batch * length * units**2, batch * length**2 * units
    products = 2 * 3 * (projections + contexts)
    return additive.keras_attention({**sizes, "jit_compile": True}).step.lower(), products


def _self_attention():
    """As above. Scores are computed twice: seven products of (length, length) and the width."""
    sizes = self_attention.CASE.points[0]
    rows, width = sizes["batch"] * sizes["length"], sizes["heads"] * sizes["width"]
    products = 2 * (3 * 4 * rows * width**2 + 7 * rows * sizes["length"] * width)
    return self_attention.keras_attention({**sizes, "jit_compile": True}).step.lower(), products


def _training_step():
    """As above. Attention's products with the memory are not among those of the GEMM floor."""
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
    """Returns the least seconds that a machine takes for these counts, and what bounds it."""
    operations, bandwidth, size = machine
    bounds = {"arithmetic": counts["flop"] / operations}
    bounds["memory"] = counts["bytes"] * size / bandwidth
    name = max(bounds, key=bounds.get)
    return bounds[name], name


def this_processor() -> tuple[float, float, int]:
    """Returns the most that products and copies of large arrays reach here, as in `MACHINES`."""
    size = 2048
    a, b, result = (np.ones((size, size), "float32") for _ in range(3))
    source, target = (np.ones(2**26, "float32") for _ in range(2))

    def least(function):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    operations = 2 * size**3 / least(lambda: np.matmul(a, b, out=result))
    return operations, 2 * source.nbytes / least(lambda: np.copyto(target, source)), 1


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
        before, rest = settings.page.read_text().split(START)
        after = rest.split(END)[1]
        settings.page.write_text(f"{before}{START}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
