"""The layers under jit on a GPU, with whatever KERAS_BACKEND says:

    KERAS_BACKEND=jax python -m benchmarks.gpu --out out/gpu

Every layer runs forward and backward. Its output and gradients are compared with those of the
processor, without jit. Then it takes turns with the layer of Keras that does the same work. The
floor is what the device needs for the operations or for the bytes, whichever is more, at the rates
of a large product and of a large copy that are measured on it first.

Where there is no GPU everything runs on the processor. `--small` takes seconds there.
"""

import argparse
import json
import pathlib
import statistics
import time

import keras
import numpy as np
from keras import ops

from benchmarks import accelerators
from benchmarks.compare import relative_difference
from benchmarks.gpu_problems import problems


def main(arguments=None):
    options = _parse(arguments)
    keras.utils.set_random_seed(0)
    accelerators.in_full_float32()
    device = accelerators.accelerator() or accelerators.processor()
    results = {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "device": device,
        "rates": _rates(device, options.small),
    }
    results["problems"] = [
        _run(problem, device, results["rates"], options) for problem in problems(options.small)
    ]
    text = _markdown(results)
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"gpu-{results['backend']}"
    (options.out / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / f"{name}.md").write_text(text)
    print(text)
    return results


def _run(problem, device, rates, options):
    print(problem.name, flush=True)
    inputs, upstream = problem.arrays()
    values, expected = None, None
    steps = {}
    makers = {"processor": problem.ours, "ours": problem.ours, "keras": problem.keras}
    for name, make in makers.items():
        if make is None:
            continue
        where = accelerators.processor() if name == "processor" else device
        with keras.device(where):
            layer = make()
            layer.build(*problem.shapes)
        values = values or [np.array(weight) for weight in layer.get_weights()]
        fitting = zip(values, layer.get_weights(), strict=True)
        layer.set_weights([value.reshape(weight.shape) for value, weight in fitting])
        step = accelerators.gradient_step(
            layer, inputs, upstream, problem.options, jit=name != "processor", device=where
        )
        if name == "processor":
            expected = accelerators.to_numpy(step())
        else:
            steps[name] = step
    answers = {name: accelerators.to_numpy(step()) for name, step in steps.items()}
    differences = {
        name: max(
            relative_difference(actual.reshape(right.shape), right)
            for actual, right in zip(answer, expected, strict=True)
        )
        for name, answer in answers.items()
    }
    seconds = _in_turns(steps, options.rounds)
    floor = max(
        problem.operations / rates["operations_per_second"],
        problem.bytes() / rates["bytes_per_second"],
    )
    return {
        "name": problem.name,
        "seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "all_seconds": seconds,
        "difference": differences,
        "floor": floor,
    }


def _in_turns(steps, rounds):
    seconds = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _rates(device, small):
    """The device's own: of a large product, and of a copy that is larger than its caches."""
    side, length = (64, 10**5) if small else (4096, 10**8)
    ones = np.ones((side, side), "float32")
    product = accelerators.compiled(ops.matmul, [ones, ones], jit=True, device=device)
    copy = accelerators.compiled(
        lambda x: x + 1.0, [np.ones(length, "float32")], jit=True, device=device
    )
    fastest = {}
    for name, step in (("product", product), ("copy", copy)):
        step()
        fastest[name] = min(_in_turns({"": step}, 5)[""])
    return {
        "operations_per_second": 2 * side**3 / fastest["product"],
        "bytes_per_second": 2 * 4 * length / fastest["copy"],
    }


def _markdown(results):
    rates = results["rates"]
    lines = [
        f"Keras {results['keras']} on {results['backend']}, device {results['device']}: "
        f"{rates['operations_per_second'] / 1e12:.2f} TFLOP/s, "
        f"{rates['bytes_per_second'] / 1e9:.0f} GB/s.",
        "",
        "| forward and backward | ours, ms | Keras, ms | times as fast | floor, ms | differs by |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in results["problems"]:
        ours, theirs = (row["seconds"].get(name) for name in ("ours", "keras"))
        keras_ms = f"{1000 * theirs:.3g}" if theirs else ""
        times = f"{theirs / ours:.2f}" if theirs else ""
        lines.append(
            f"| {row['name']} | {1000 * ours:.3g} | {keras_ms} | {times} "
            f"| {1000 * row['floor']:.3g} | {row['difference']['ours']:.1e} |"
        )
    return "\n".join([*lines, ""])


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Runs the layers under jit on a GPU, or on the processor where there is none.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/gpu"))
    parser.add_argument("--rounds", type=int, default=20, help="turns of every layer")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it works")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
