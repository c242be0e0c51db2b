"""What the small examples share: one clear line for a number that cannot be."""

import importlib

import pytest

# Those whose options are read by `argparse`.
SMALL = ["copy_task", "emoji_names", "few_shot", "forecast", "reverse", "sort"]


@pytest.mark.parametrize(
    ("example", "option", "value"),
    [
        ("reverse", "--units", "x"),
        ("sort", "--numbers", "0"),
        ("sort", "--numbers", "101"),
        ("few_shot", "--ways", "0"),
        ("copy_task", "--steps", "-1"),
        *((example, "--seed", "-1") for example in SMALL),
        ("sort", "--seed", str(2**32)),
        ("copy_task", "--learning-rate", "nan"),
        ("copy_task", "--learning-rate", "fast"),
    ],
)
def test_a_number_that_cannot_be_is_named_with_exit_code_2(example, option, value, capsys):
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"examples.{example}").main([option, value])
    assert left.value.code == 2
    *_, error = capsys.readouterr().err.strip().splitlines()
    assert option in error
    assert f"'{value}'; expected" in error
