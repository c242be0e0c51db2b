"""Writes docs/conformance.md: what came of every check of every row of the layer table.

    python docs/conformance.py out/conformance/*.json

reads what `pytest --outcomes FILE` has written, a file per backend; `make conformance` does both.
It fails if a check has failed or has not run.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"

MASKS = {
    "test_appended_padding_changes_nothing",
    "test_random_masks",
    "test_random_shapes_and_masks_equal_the_oracle",
    "test_asking_for_the_weights_never_changes_the_answer",
    "test_implicit_and_passed_masks_agree_and_are_left_alone",
    "test_implicit_masks_work_in_a_functional_model",
}
ON_A_BACKEND = {
    "test_numbers_equal_the_oracle",
    "test_empty_rows_give_zeros_and_never_nan",
    "test_saved_models_load",
    "test_a_step_of_training_descends_as_its_gradient_says",
}
# Each column: its head, what is checked, and (backend, tests, policy) that show it.
CHECKS = [
    (
        "oracle",
        "float64 numbers equal a NumPy oracle written from the paper's equations, within 1e-10",
        ("tensorflow", {"test_numbers_equal_the_oracle_in_float64"}, None),
    ),
    (
        "gradients",
        "float64 gradients of every input and weight equal finite differences",
        ("tensorflow", {"test_gradients_equal_finite_differences"}, None),
    ),
    *(
        (
            head,
            f"{policy} gives the same, within {bound}",
            ("tensorflow", {"test_precision"}, policy),
        )
        for head, policy, bound in (
            ("f32", "float32", "1e-5"),
            ("f16", "mixed_float16", "2e-2"),
            ("bf16", "mixed_bfloat16", "1e-1"),
        )
    ),
    (
        "shapes",
        "symbolic shapes and dtypes are the real ones, with batch and lengths unknown too",
        ("tensorflow", {"test_symbolic_shapes_and_dtypes_are_the_real_ones"}, None),
    ),
    (
        "model",
        "a functional model takes any batch and any lengths",
        ("tensorflow", {"test_a_functional_model_takes_any_batch_and_length"}, None),
    ),
    (
        "config",
        "`get_config` and `from_config` give the same layer",
        ("tensorflow", {"test_config_round_trip"}, None),
    ),
    (
        "files",
        "`.keras` and `.weights.h5` files load without `custom_objects`, to equal outputs",
        ("tensorflow", {"test_saved_models_and_weights_load"}, None),
    ),
    (
        "training",
        "two steps of training descend, and are the same eagerly, in a graph and under XLA (the "
        "draws of a hard attention excepted)",
        ("tensorflow", {"test_training_is_the_same_eager_in_a_graph_and_under_xla"}, None),
    ),
    (
        "masks",
        "padding changes nothing and gets weight and gradient exactly 0; where nothing may be "
        "attended there are zeros, never NaN, in three precisions; attached and given masks agree",
        ("tensorflow", MASKS, None),
    ),
    (
        "SavedModel",
        "TensorFlow alone serves it, in a process without Keras and without this library",
        ("tensorflow", {"test_saved_models_need_tensorflow_alone"}, None),
    ),
    ("ONNX", "onnxruntime gives the same numbers", ("tensorflow", {"test_onnx"}, None)),
    ("LiteRT", "LiteRT gives the same numbers", ("tensorflow", {"test_litert"}, None)),
    *(
        (
            name,
            f"on {name}: the oracle, empty rows, files, a step of training",
            (backend, ON_A_BACKEND, None),
        )
        for name, backend in (("JAX", "jax"), ("PyTorch", "torch"))
    ),
]
FORMATS = {"SavedModel": "saved_model", "ONNX": "onnx", "LiteRT": "litert"}  # as in `row.limits`
WHY = {
    "Select TensorFlow op": "the loop of every recurrent Keras layer, `keras.layers.GRU` too, "
    "becomes operations of TensorFlow that LiteRT has in its Flex builds only"
}
HELD, NO_MASK, FAILED, MISSING = "✓", "takes none", "**fails**", "not run"

HEAD = """\
# Conformance

Every public layer is held by the same checks, walked over a table with a row or more for each layer
(`tests/table`). This page is written by `make conformance`, from what the tests did.
"""


def cell(row, head, shown_by, runs):
    """What the table says of one row and one check."""
    backend, tests, policy = shown_by
    outcomes = {
        case["outcome"]
        for case in runs.get(backend, {"cases": []})["cases"]
        if case["row"] == row.name and case["test"] in tests and policy in (None, case["policy"])
    }
    if head == "masks" and not row.masks and not row.ids:
        return NO_MASK
    if not outcomes:
        return MISSING
    if outcomes != {"passed"}:
        return FAILED
    return row.limits.get(FORMATS.get(head), HELD)


def page(table, runs):
    """The page as text, and whether every cell holds or has a stated limit."""
    lines = [HEAD, "| check | holds |", "|---|---|"]
    lines += [f"| {head} | {meaning} |" for head, meaning, _ in CHECKS]
    versions = {name: v for run in runs.values() for name, v in run["versions"].items()}
    lines += ["", "Run with " + ", ".join(map(" ".join, sorted(versions.items()))) + ".", ""]
    heads, limits, complete = [head for head, _, _ in CHECKS], {}, True
    lines += [f"| row | stands for | {' | '.join(heads)} |", f"|---|---|{':-:|' * len(heads)}"]
    for row in table:
        cells = [cell(row, head, shown_by, runs) for head, _, shown_by in CHECKS]
        complete &= not {FAILED, MISSING} & set(cells)
        for i, said in enumerate(cells):
            if said in WHY:
                cells[i] = f"[{limits.setdefault(said, len(limits) + 1)}](#limits)"
        stands_for = ", ".join(f"`{layer.__name__}`" for layer in row.holds)
        lines.append(f"| `{row.name}` | {stands_for} | {' | '.join(cells)} |")
    if limits:
        lines += ["", "## Limits", ""]
        lines += ["Where a format cannot run a layer, a test holds what its runtime says:", ""]
        lines += [f'{number}. "{said}": {WHY[said]}.' for said, number in limits.items()]
    return "\n".join(lines) + "\n", complete


def main():
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from table import TABLE

    runs = [json.loads(pathlib.Path(path).read_text()) for path in sys.argv[1:]]
    text, complete = page(TABLE, {run["backend"]: run for run in runs})
    PAGE.write_text(text)
    sys.exit(0 if complete else f"{PAGE.relative_to(ROOT)}: not every check has run and holds")


if __name__ == "__main__":
    main()
