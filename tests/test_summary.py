"""What `summary` says of decoders and models: the shapes of their parts, and their attention."""

import pytest

from keras_attention.decoders.base import AttentionDecoder
from table import TABLE
from table.row import CELL, VALUE

ROWS = [row for row in TABLE if issubclass(row.holds[0], AttentionDecoder)]
(MODEL,) = [row for row in TABLE if row.name == "encoder_decoder"]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def summary(model):
    """The rows of the table: name (class), shape, number of weights."""
    lines = []
    model.summary(line_length=290, expand_nested=True, print_fn=lines.append)
    rows = [line.split("│")[1:-1] for line in "\n".join(lines).splitlines() if "│" in line]
    return {row[0].strip(" └"): [part.strip() for part in row[1:]] for row in rows}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_attention_of_a_decoder_is_a_row(row):
    layer = row.new()
    shown = summary(row.functional(layer))
    attention = layer.attention
    name = f"{attention.name} ({type(attention).__name__})"
    shape, count, *_ = shown[name]
    assert count.replace(",", "") == str(attention.count_params())
    if "memories" not in row.name:  # Several attentions have no call of their own.
        assert shape != "?"


def test_the_parts_of_a_model_have_shapes():
    model = MODEL.new()
    shown = {name.split()[0]: shape for name, (shape, _) in summary(model).items()}
    for part in (model.encoder, model.target_embedding, model.decoder, model.head, model.bridge):
        assert shown[part.name].startswith("(2, "), part.name
    assert shown[model.decoder.name] == f"(2, 3, {CELL})"
    assert shown[model.decoder.attention.name] == f"(2, None, {VALUE})"
