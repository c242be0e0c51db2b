"""`--rows MODULE` runs the tests of the layer table for layers of one's own."""

import os
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).parent

OWN = """
from keras import ops

import keras_attention as ka
from table.attention import ALIGNMENT_ORACLES, attention_row
from oracles.attention import softmax_row


class Right(ka.alignments.Alignment):
    def call(self, scores, mask=None, query=None, state=(), noise=()):
        return ka.masks.masked_softmax(scores, mask), state


class Unmasked(Right):
    def call(self, scores, mask=None, query=None, state=(), noise=()):
        return ops.softmax(scores), state


ROWS = []
for alignment in (Right, Unmasked):
    ALIGNMENT_ORACLES[alignment] = lambda layer, row, allowed, *_: softmax_row(row, allowed)
    make = lambda alignment=alignment, **k: ka.Attention("scaled_dot", alignment(**k), **k)
    ROWS.append(attention_row(alignment.__name__, (alignment,), make, value=7))
"""


def test_rows_of_a_module_are_tested_in_place_of_the_table(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    selection = ["-k", "holds or oracle_in or has_a_row", TESTS / "test_conformance.py"]
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-rA",
            "--rows",
            "own",
            *selection,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(tmp_path)])},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    test = f"{TESTS.name}/test_conformance.py::test_"
    for line in (
        f"PASSED {test}the_row_contains_what_it_holds[Right]",
        f"PASSED {test}the_row_contains_what_it_holds[Unmasked]",
        f"PASSED {test}numbers_equal_the_oracle_in_float64[masked-Right]",
        f"FAILED {test}numbers_equal_the_oracle_in_float64[masked-Unmasked]",
        f"PASSED {test}numbers_equal_the_oracle_in_float64[unmasked-Unmasked]",
    ):
        assert line in found.stdout, found.stdout
    assert "every_public_layer" not in found.stdout
