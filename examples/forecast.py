"""Forecasts a chaotic series with a decoder that reads its own predictions, and draws them.

    python -m examples.forecast --out out/forecast

No data is needed, and two CPU cores take about three minutes. The series is that of Mackey and
Glass 1977 (doi:10.1126/science.267326), measured with noise. Two equal models are trained: one by
teacher forcing, which reads the measured value before each step, and one that learns to run freely:
the share of its own predictions among its inputs grows to 1, as in a forecast.
"""

import argparse
import pathlib

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import keras_attention as ka
from examples.common.arguments import positive_integer, seed
from examples.common.files import write_with

DELAY = 17  # of the equation; chaotic from 17 on
INTERVAL = 6  # between two measurements
NOISE = 0.3  # standard deviation of a measurement; that of the series is about 1
HISTORY, HORIZON = 60, 40  # measurements to read, values to forecast


def mackey_glass(length, rng):
    """Returns one series (length,) of dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t)."""
    warm_up, steps_per_unit = 300, 10
    x = np.full((warm_up + INTERVAL * length + DELAY) * steps_per_unit, 1.2)
    lag = DELAY * steps_per_unit
    x[:lag] += rng.uniform(-0.2, 0.2)
    for t in range(lag, len(x)):
        late = x[t - lag]
        x[t] = x[t - 1] + (0.2 * late / (1 + late**10) - 0.1 * x[t - 1]) / steps_per_unit
    values = x[lag + warm_up * steps_per_unit :: INTERVAL * steps_per_unit][:length]
    return (values - 0.9) / 0.23  # about mean 0 and variance 1


def windows(examples, rng):
    """Returns measured histories (N, S, 1), measured futures (N, T, 1) and true ones."""
    series = mackey_glass(examples + HISTORY + HORIZON, rng)
    true = np.lib.stride_tricks.sliding_window_view(series, HISTORY + HORIZON)[:examples, :, None]
    measured = series + rng.normal(scale=NOISE, size=series.shape)
    measured = np.lib.stride_tricks.sliding_window_view(measured, HISTORY + HORIZON)
    measured = measured[:examples, :, None].astype("float32")
    return measured[:, :HISTORY], measured[:, HISTORY:], true[:, HISTORY:]


def build(units, dropout, free_running):
    """Returns a model of ((history, values before each step), values)."""
    layers = keras.layers
    return ka.models.EncoderDecoder(
        layers.GRU(units, return_sequences=True, use_cudnn=False),  # so that XLA compiles it
        layers.Dense(units, "tanh"),
        ka.LuongDecoder(
            layers.GRUCell(units, dropout=dropout), ka.LuongAttention(), attention_layer_size=units
        ),
        layers.Dense(1),
        sampling_probability=0.0 if free_running else None,
        bridge="last",
    )


class RunFreely(keras.callbacks.Callback):
    """Lets all inputs be predictions from the middle of the training on."""

    def on_epoch_begin(self, epoch, logs=None):
        share = min(1.0, 2 * epoch / self.params["epochs"])
        self.model.sampling_probability.assign(share)


def train(history, future, options, free_running):
    keras.utils.set_random_seed(options.seed)
    model = build(options.units, options.dropout, free_running)
    target_in = np.concatenate([history[:, -1:], future[:, :-1]], axis=1)
    steps = options.epochs * -(-len(history) // options.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), "mse", jit_compile=True)
    model.fit(
        (history, target_in),
        future,
        epochs=options.epochs,
        batch_size=options.batch_size,
        callbacks=[RunFreely()] if free_running else [],
        verbose=2,
    )
    return model


def forecast(model, history):
    """Returns the values (N, T, 1) that the model predicts from its own predictions."""
    outputs = model.unroll(history, history[:, -1], HORIZON).outputs
    return keras.ops.convert_to_numpy(outputs)


def draw(path, history, true, forecasts):
    """Draws one forecast, and the error of all of them at each step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), width_ratios=(3, 2))
    before, after = np.arange(-HISTORY, 0) + 1, np.arange(HORIZON) + 1
    left.plot(before, history[0, :, 0], ".", color="0.5", markersize=4, label="measured")
    left.plot(after, true[0, :, 0], color="0.2", linestyle="--", label="true")
    for i, (name, values) in enumerate(forecasts.items()):
        left.plot(after, values[0, :, 0], color=f"C{i}", label=name)
        right.plot(after, np.sqrt(np.mean((values - true) ** 2, axis=(0, 2))), color=f"C{i}")
    left.set(xlabel="step", ylabel="value", title="One forecast")
    right.set(xlabel="step", ylabel="root of mean squared error", title="All forecasts", ylim=0)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    write_with(path, lambda file: figure.savefig(file, dpi=120))
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="out/forecast", help="folder to write")
    parser.add_argument(
        "--examples", type=positive_integer, default=4000, help="number of training examples"
    )
    parser.add_argument("--epochs", type=positive_integer, default=15)
    parser.add_argument("--batch-size", type=positive_integer, default=64)
    parser.add_argument("--units", type=positive_integer, default=64)
    parser.add_argument("--dropout", type=float, default=0.1, help="dropout of the decoder's cell")
    parser.add_argument("--seed", type=seed, default=1)
    options = parser.parse_args(arguments)

    matplotlib.use("Agg")  # The picture goes to a file; a display is not needed.
    history, future, _ = windows(options.examples, np.random.default_rng(options.seed))
    models = {
        "free running": train(history, future, options, free_running=True),
        "teacher forcing": train(history, future, options, free_running=False),
    }
    history, _, true = windows(1000, np.random.default_rng(options.seed + 1))
    forecasts = {name: forecast(model, history) for name, model in models.items()}
    forecasts["last value"] = np.repeat(history[:, -1:], HORIZON, axis=1)
    for name, values in forecasts.items():
        error = np.sqrt(np.mean((values - true) ** 2))
        print(f"{name:16} root of the mean squared error, 1,000 unseen forecasts: {error:.3f}")
    options.out.mkdir(parents=True, exist_ok=True)
    draw(options.out / "forecast.png", history, true, forecasts)
    print(f"drew {options.out / 'forecast.png'}")


if __name__ == "__main__":
    main()
