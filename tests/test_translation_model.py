"""The translation example's models: a first step, mixed precision, tied embeddings."""

import numpy as np
import pytest

from examples.common.special import PAD
from examples.translation import model as network
from examples.translation import train
from examples.translation.config import Config
from marks import eagerly
from translation_runs import EVERY_MODEL


def compiled(**choices):
    """A model, ready for training, and its configuration."""
    choices = {
        "units": 6,
        "encoder_units": 4,
        "embedding": 8,
        "dropout": 0.0,
        "epochs": 1,
        **choices,
    }
    config = Config("toy", "0", **choices)
    source_size = 13 if config.joint_vocabulary else 11
    model = network.build(config, source_size, target_size=13)
    train.compile_model(model, config, steps=1)
    return model, config


def first_step(**choices):
    """The loss of a first training step, the same by NumPy from the logits, and the model."""
    model, config = compiled(**choices)
    source = np.array([[5, 6, 3], [7, 3, 0], [0, 0, 0]])
    target_in = np.array([[2, 5, 6], [2, 8, 0], [0, 0, 0]])
    target_out = np.array([[5, 6, 3], [8, 3, 0], [0, 0, 0]])
    # Filled-up rows and padding do not count.
    logits = model((source, target_in)).numpy()[target_out != PAD].astype("float64")
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    right = log_probs[np.arange(len(logits)), target_out[target_out != PAD]]
    smoothing = config.label_smoothing
    wanted = -((1 - smoothing) * right + smoothing * log_probs.mean(axis=-1)).mean()
    loss = model.train_on_batch((source, target_in), target_out, return_dict=True)["loss"]
    return float(loss), wanted, model


@EVERY_MODEL
def test_a_step_is_the_same_under_xla(model):
    import keras

    losses = []
    for jit in (False, True):
        keras.utils.set_random_seed(3)
        loss, wanted, _ = first_step(model=model, jit=jit)
        assert loss == pytest.approx(wanted, abs=1e-4)
        losses.append(loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@eagerly
@pytest.mark.parametrize(
    ("choice", "precision"),
    [
        ({"attention": "bahdanau"}, "float16"),
        ({"attention": "luong"}, "bfloat16"),
        ({"model": "transformer"}, "float16"),
        ({"attention": "luong", "joint_vocabulary": True, "tie_embeddings": True}, "float16"),
    ],
)
def test_mixed_precision_trains(choice, precision):
    loss, wanted, model = first_step(**choice, mixed_precision=precision)
    assert loss == pytest.approx(wanted, abs=1e-3)
    assert model.compute_dtype == precision
    assert {weight.dtype for weight in model.weights} == {"float32"}


@eagerly
@pytest.mark.parametrize(
    "choice",
    [
        {"attention": "luong"},
        {"attention": "bahdanau"},
        {"attention": "none"},
        {"model": "transformer"},
    ],
)
def test_tied_embeddings_are_one_matrix(choice, tmp_path):
    choice = {**choice, "units": 8, "joint_vocabulary": True}
    loss, wanted, model = first_step(**choice, tie_embeddings=True)
    assert loss == pytest.approx(wanted, abs=1e-4)
    inputs = np.array([[5, 6, 3]]), np.array([[2, 5]])
    untied, again = (compiled(**choice, tie_embeddings=tie)[0] for tie in (False, True))
    untied(inputs)
    again(inputs)
    embedding = model.target_embedding
    assert model.head is embedding
    assert embedding in model.encoder.layers
    assert untied.count_params() - model.count_params() == 13 * (8 + 8 + 1)  # the bias too
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(again(inputs), model(inputs))
    before = embedding.embeddings.numpy()
    model.train_on_batch(inputs, np.array([[5, 3]]))
    assert (embedding.embeddings.numpy() != before).any(axis=1).all()  # through the head
