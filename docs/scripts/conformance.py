"""The page "Conformance" of the documentation: the outcome of every check for every row.

`make conformance` runs the checks on each backend with `pytest --outcomes FILE`, which writes a
file per backend to out/conformance, and then

    python docs/scripts/conformance.py

which fails if a check has failed or has not run. `make docs` makes the page from the same files; it
is not committed.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[2]
OUTCOMES = ROOT / "out" / "conformance"

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
QUERY = "query (B, D)"
# Each column: its head, what is checked, and the (backend, tests, policy) that check it.
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
            f"{policy} equals the oracle, within {bound}",
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
        "symbolic shapes and dtypes equal the real ones, also with unknown batch and lengths",
        ("tensorflow", {"test_symbolic_shapes_and_dtypes_are_the_real_ones"}, None),
    ),
    (
        "model",
        "a functional model accepts any batch size and any lengths",
        ("tensorflow", {"test_a_functional_model_takes_any_batch_and_length"}, None),
    ),
    (
        QUERY,
        "a query without the axis of steps gets results without it: numbers, shapes, models, files",
        ("tensorflow", {"test_a_single_query_has_results_without_the_axis_of_steps"}, None),
    ),
    (
        "config",
        "`from_config(get_config())` gives an equal layer",
        ("tensorflow", {"test_config_round_trip"}, None),
    ),
    (
        "files",
        "`.keras` and `.weights.h5` files load without `custom_objects`, to equal outputs",
        ("tensorflow", {"test_saved_models_and_weights_load"}, None),
    ),
    (
        "cloned",
        "`clone_model`, `copy.deepcopy` and `copy.copy`, of unbuilt layers too, give equal outputs "
        "and variables of their own",
        ("tensorflow", {"test_copies_are_equal_and_independent"}, None),
    ),
    (
        "shared",
        "a model that calls the layer in two places saves and loads it as one layer",
        ("tensorflow", {"test_a_layer_in_two_places_loads_as_one"}, None),
    ),
    (
        "quantized",
        "after `quantize` to int8 and float8 a saved model loads, to equal outputs (Keras "
        "quantizes layers of its own, such as Dense, not the kernels of scores and heads)",
        ("tensorflow", {"test_quantized_models_load"}, None),
    ),
    (
        "training",
        "two training steps lower the loss, and give the same numbers eagerly, in a graph and "
        "under XLA (except for the samples of hard attention)",
        ("tensorflow", {"test_training_is_the_same_eager_in_a_graph_and_under_xla"}, None),
    ),
    (
        "two devices",
        "a training step under `tf.distribute.MirroredStrategy`, with half of the batch on each of "
        "two devices, gives the weights of one device (except for the samples of hard attention)",
        ("tensorflow", {"test_a_step_on_two_devices_is_that_on_one"}, None),
    ),
    (
        "masks",
        "padding changes nothing, and its weights and gradients are exactly 0; fully masked rows "
        "give zeros, never NaN, in three precisions; implicit and explicit masks agree",
        ("tensorflow", MASKS, None),
    ),
    (
        "first use",
        "`prepare`, `begin`, `step` and the like of a layer that was never called build it, or one "
        "line says what to do",
        ("tensorflow", {"test_a_layer_that_was_never_called_works_or_says_what_to_do"}, None),
    ),
    (
        "empty",
        "batches, queries and memories of length 0 give outputs without elements, or zeros, with "
        "finite gradients: eagerly, in a graph and under XLA",
        ("tensorflow", {"test_nothing_gives_no_elements_or_zeros"}, None),
    ),
    (
        "SavedModel",
        "TensorFlow serves it in a process without Keras and without this library",
        ("tensorflow", {"test_saved_models_need_tensorflow_alone"}, None),
    ),
    ("ONNX", "onnxruntime returns equal outputs", ("tensorflow", {"test_onnx"}, None)),
    ("LiteRT", "LiteRT returns equal outputs", ("tensorflow", {"test_litert"}, None)),
    *(
        (
            name,
            f"on {name}: the oracle, fully masked rows, saved files, a training step",
            (backend, ON_A_BACKEND, None),
        )
        for name, backend in (("JAX", "jax"), ("PyTorch", "torch"))
    ),
]
LIMITED = {  # as in `row.limits`
    "SavedModel": "saved_model",
    "ONNX": "onnx",
    "LiteRT": "litert",
    "empty": "empty",
}
WHY = {
    "Select TensorFlow op": "the loop of every recurrent Keras layer, `keras.layers.GRU` too, "
    "becomes TensorFlow operations that only the Flex builds of LiteRT have",
    "LSTMCell.call": "`keras.layers.LSTMCell` takes no empty batch whose size is known: Keras then "
    "takes the product of the state for a bias",
    "RNN.call": "the recurrent layers of Keras need a step",
    "LSTMCell.call|RNN.call": "both of these",
    "Conv1D.call": "TensorFlow's convolution of an empty tensor has the channels of its input",
    "An input has width": "TensorFlow's convolution of an empty tensor has the channels of its "
    "input; sequences without a query are no limit",
}
HELD, NO_MASK, NO_QUERY = "✓", "no masks", "no queries"
FAILED, MISSING = "**fails**", "not run"

HEAD = """\
# Conformance

Every public layer passes the same checks. They run over a table with at least one row for each
layer (`tests/table`).
"""
NOT_RUN = """
The checks have not run for this build of the page: `make conformance` runs them, and the next build
shows each row's outcomes.
"""


def cell(row, head, shown_by, runs):
    """The entry of one row and one check."""
    backend, tests, policy = shown_by
    outcomes = {
        case["outcome"]
        for case in runs.get(backend, {"cases": []})["cases"]
        if case["row"] == row.name and case["test"] in tests and policy in (None, case["policy"])
    }
    if head == "masks" and not row.masks and not row.ids:
        return NO_MASK
    if head == QUERY and not row.has_query:
        return NO_QUERY
    if not outcomes:
        return MISSING
    if outcomes != {"passed"}:
        return FAILED
    return row.limits.get(LIMITED.get(head), HELD)


def page(table, runs):
    """The page as text, and whether every check of every row has passed or has a stated limit."""
    lines = [HEAD, "| check | holds |", "|---|---|"]
    lines += [f"| {head} | {meaning} |" for head, meaning, _ in CHECKS]
    if not runs:
        return "\n".join(lines) + "\n" + NOT_RUN, False
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
        lines += ["What Keras or a format cannot run. The tests expect the error:", ""]
        lines += [f'{number}. "{said}": {WHY[said]}.' for said, number in limits.items()]
    return "\n".join(lines) + "\n", complete


def made():
    """The page and whether it is complete, from the files that the tests have written."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from table import TABLE

    runs = [json.loads(path.read_text()) for path in sorted(OUTCOMES.glob("*.json"))]
    return page(TABLE, {run["backend"]: run for run in runs})


if __name__ == "__main__":
    text, complete = made()
    print(text)
    sys.exit(0 if complete else "Not every check has run and passed.")
