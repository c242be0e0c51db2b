"""The forecast example: its data are what it says, and the whole of it runs at toy size."""

import keras
import numpy as np
import pytest

from examples import forecast


def test_the_series_is_that_of_the_equation_and_is_measured_with_noise():
    history, future, true = forecast.windows(50, np.random.default_rng(3))
    assert history.shape == (50, forecast.HISTORY, 1)
    assert future.shape == true.shape == (50, forecast.HORIZON, 1)
    np.testing.assert_array_equal(history[1:, :-1], history[:-1, 1:])  # windows of one series
    noise = future - true
    assert np.std(noise) == pytest.approx(forecast.NOISE, rel=0.1)
    series = forecast.mackey_glass(400, np.random.default_rng(3))
    assert abs(series.mean()) < 0.2
    assert series.std() == pytest.approx(1, abs=0.2)
    assert len(set(series.round(3))) > 300  # chaotic: it does not repeat


@pytest.mark.parametrize("epochs", [1, 4])
def test_predictions_take_over(epochs):
    model = forecast.build(units=3, dropout=0.1, free_running=True)
    history, future, _ = forecast.windows(8, np.random.default_rng(3))
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(float(self.model.sampling_probability))

    model.compile("sgd", "mse")
    callbacks = [forecast.RunFreely(), Watch()]
    model.fit((history, future), future, epochs=epochs, callbacks=callbacks, verbose=0)
    assert seen == {1: [0.0], 4: [0.0, 0.5, 1.0, 1.0]}[epochs]


def test_it_runs_from_training_to_picture(tmp_path, capsys):
    options = ["--examples", "16", "--epochs", "1", "--batch-size", "8", "--units", "4"]
    forecast.main([*options, "--out", str(tmp_path / "new" / "folder")])
    assert (tmp_path / "new" / "folder" / "forecast.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for name in ("free running", "teacher forcing", "last value"):
        assert f"{name:16} root of the mean squared error" in printed
