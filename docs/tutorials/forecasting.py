# %% [markdown]
# # Forecasting a series
#
# You train a decoder that forecasts 27 days of a real series. It reads its own forecast of the day
# before, and says how sure it is. At the end you measure how often the truth lies in its band. You
# need to know `fit` and what an encoder and a decoder are.

# %%
import astropy_iers_data
import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers, ops

import keras_attention as ka

keras.utils.set_random_seed(1)

# %% [markdown]
# ## The series
#
# A day does not last exactly 86,400 seconds. The International Earth Rotation and Reference Systems
# Service (IERS) measures the excess, a few milliseconds at most. Its table has one line for each
# day since 1962, and comes with a package: `pip install astropy-iers-data`. The tides of the Moon
# stretch and shorten the day with periods of 13.7 and 27.6 days. Winds and currents add an
# irregular part, which nobody can forecast for weeks.

# %%
table = np.loadtxt(astropy_iers_data.IERS_B_FILE, usecols=(0, 12))
table = table[(table[:, 0] >= 1984) & (table[:, 0] < 2025)]
years, excess = table[:, 0], 1000 * table[:, 1]  # (days,), in milliseconds

figure, axis = plt.subplots(figsize=(8, 2.6), layout="constrained")
axis.plot(excess[-731:])
axis.set(xlabel="days from January 1, 2023", ylabel="excess (ms)")
plt.show()

# %% [markdown]
# An example is a window of 112 days to read and 27 to forecast. The level drifts over decades, so
# we subtract the last value that is known, and the network forecasts the change from it. Windows
# that end before 2014 are for training, those of 2015 to 2024 for the test: no day is in both.

# %%
HISTORY, HORIZON, SCALE = 112, 27, 0.3  # days, days, ms
windows = np.lib.stride_tricks.sliding_window_view(excess, HISTORY + HORIZON)
windows = (windows - windows[:, HISTORY - 1 : HISTORY]) / SCALE
windows = windows[:, :, None].astype("float32")  # (N, S + T, 1)
first_year, last_year = years[: len(windows)], years[HISTORY + HORIZON - 1 :]
train, test = windows[last_year < 2014], windows[first_year >= 2015][::3]
history, future = train[:, :HISTORY], train[:, HISTORY:]  # (N, S, 1), (N, T, 1)
test_history, test_future = test[:, :HISTORY], test[:, HISTORY:]
print(len(train), "windows to train on,", len(test), "to test on")

# %% [markdown]
# Two baselines. The first repeats the last 27 days, about one turn of the Moon. The second is a
# linear regression from the 112 days to each of the 27.

# %%
errors = {}  # in ms


def root_mean_square(forecast):
    return float(SCALE * np.sqrt(np.mean((forecast - test_future) ** 2)))


def with_one(x):  # (N, S, 1) -> (N, S + 1)
    return np.pad(x[:, :, 0], [(0, 0), (0, 1)], constant_values=1)


errors["27 days before"] = root_mean_square(test_history[:, -HORIZON:])
matrix = np.linalg.lstsq(with_one(history), future[:, :, 0])[0]  # (S + 1, T)
errors["regression"] = root_mean_square((with_one(test_history) @ matrix)[:, :, None])
print(errors)

# %% [markdown]
# ## The network
#
# Two convolutions read the history. A position of their output, the memory, knows the two weeks
# before its day and the two weeks after it, and the position encoding says which day that is. The
# decoder is a GRU with attention. At each step it attends to the memory with its state $h_t$ (Luong
# et al. 2015, "general"), with the weights
#
# $$a_{ts} = \frac{\exp(h_t^\top W m_s)}{\sum_{s'} \exp(h_t^\top W m_{s'})}.$$
#
# The head returns two numbers for each day: the mean $\mu_t$ of a normal distribution and a number
# from which we make its standard deviation $\sigma_t$. The loss is the negative logarithm of the
# likelihood of what came, up to a constant:
#
# $$L_t = \log \sigma_t + \frac{(y_t - \mu_t)^2}{2 \sigma_t^2}.$$
#
# A wrong forecast costs less with a large $\sigma_t$, a right one with a small $\sigma_t$. So the
# network learns how far it is off.


# %%
def mean_and_deviation(outputs):  # (..., 2) -> (..., 1), (..., 1)
    return outputs[..., :1], ops.softplus(outputs[..., 1:]) + 0.02


def likelihood_loss(y, outputs):
    mean, deviation = mean_and_deviation(outputs)
    loss = ops.log(deviation) + 0.5 * ops.square((y - mean) / deviation)
    return ops.squeeze(loss, -1)  # (B, T)


def build(with_attention, units=48):
    encoder = keras.Sequential(
        [
            keras.Input((HISTORY, 1)),
            layers.Conv1D(units, 7, padding="same", activation="relu"),
            layers.Conv1D(units, 7, padding="same", activation="relu", dilation_rate=4),
            ka.SinusoidalPositionEncoding(),
        ]
    )
    if not with_attention:
        encoder.add(layers.Cropping1D((HISTORY - 1, 0)))  # leaves the last position
    attention = ka.LuongAttention("general")
    return ka.models.EncoderDecoder(
        encoder,
        layers.Dense(units, "tanh"),  # reads the output of the step before
        ka.LuongDecoder(layers.GRUCell(units), attention, attention_layer_size=units),
        layers.Dense(2),
        sampling_probability=1.0,
        bridge="last",
    )


# %% [markdown]
# With `sampling_probability=1.0` the model trains as it forecasts: each step reads the two numbers
# that the head returned one step before, never the true value. `bridge="last"` makes the first
# state of the GRU from the last position of the memory.
#
# `fit` takes pairs of source and target input. Of the target input, the network reads the first
# step alone, which holds the last known value: 0, as we subtracted it.


# %%
def train_model(with_attention):
    model = build(with_attention)
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, 6 * len(train) // 64)
    adam = keras.optimizers.Adam(schedule, clipnorm=1.0)
    model.compile(adam, likelihood_loss, jit_compile=True)
    target_in = np.zeros((len(train), HORIZON, 2), "float32")
    fitted = model.fit((history, target_in), future, 64, epochs=6, verbose=0)
    print("loss of the epochs:", np.round(fitted.history["loss"], 2))
    return model


model, without = train_model(True), train_model(False)

# %% [markdown]
# The second model is the same network without attention: its memory has one position, the last, so
# that it knows the last two weeks alone.
#
# ## The forecast
#
# `unroll` runs the decoder over its own outputs: `first` is the input of the first step, and each
# further step reads the output before it.

# %%
first = np.zeros((len(test), 2), "float32")
found = model.unroll(test_history, first, HORIZON)
print(found.outputs.shape, found.attention.shape)  # (N, T, 2), (N, T, S)
mean, deviation = map(ops.convert_to_numpy, mean_and_deviation(found.outputs))
other, _ = mean_and_deviation(without.unroll(test_history, first, HORIZON).outputs)
errors["without attention"] = root_mean_square(ops.convert_to_numpy(other))
errors["with attention"] = root_mean_square(mean)
for name, error in errors.items():
    print(f"{name:18} {error:.3f} ms")

# %% [markdown]
# With attention, the decoder is far better than the repeated month and than the decoder that knows
# two weeks. A linear regression is about as good: the tides are a sum of waves, and a linear map
# can continue these. It gives one number for each day, though, and not a spread.
#
# Here is one window of the test. The band holds the middle 90 % of the forecast distribution,
# $\mu_t \pm 1.645\,\sigma_t$. Below are the attention weights: each row is a day of the forecast,
# each column a day of the history, and white is the largest weight. The bright spots are days one,
# two or more turns of the tide before: the network looks up what the tide did then.

# %%
index = 400
measured, forecast = SCALE * test[index, :, 0], SCALE * mean[index, :, 0]
days = np.arange(HISTORY + HORIZON) - HISTORY + 1
low, high = (SCALE * (mean + k * deviation)[index, :, 0] for k in (-1.645, 1.645))
figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 5), layout="constrained")
top.plot(days, measured, color="0.3", label="measured")
top.plot(days[HISTORY:], forecast, color="tab:orange", label="forecast")
top.fill_between(days[HISTORY:], low, high, color="tab:orange", alpha=0.3, label="90 %")
top.set(xlabel="day", ylabel="change (ms)", xlim=(days[0], days[-1]))
top.legend(loc="lower left")
weights = ops.convert_to_numpy(found.attention[index])  # (T, S)
ka.visualize.plot_alignment(weights / weights.max(), ax=bottom)
ticks = np.arange(11, HISTORY, 20)
bottom.set_xticks(ticks, days[ticks])
bottom.set(xlabel="day of the history", ylabel="day of the forecast")
plt.show()

# %% [markdown]
# ## Is the band honest?
#
# A band of 90 % is honest if it holds the truth in 90 % of the cases. We count on the test, for
# each day of the forecast.

# %%
inside = np.abs(test_future - mean) < 1.645 * deviation  # (N, T, 1)
coverage = inside.mean()
print(f"coverage of the 90 % band: {coverage:.1%}")

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
step = np.arange(HORIZON) + 1
error = SCALE * np.sqrt(((mean - test_future) ** 2).mean((0, 2)))  # (T,)
left.plot(step, error, label="error")
left.plot(step, SCALE * deviation.mean((0, 2)), "--", label=r"mean of $\sigma_t$")
left.set(xlabel="day of the forecast", ylabel="ms", ylim=0)
left.legend()
right.plot(step, 100 * inside.mean((0, 2)))
right.axhline(90, color="0.5", linestyle="--")
right.set(xlabel="day of the forecast", ylabel="inside the band (%)", ylim=(70, 100))
plt.show()

# %% [markdown]
# The deviation that the network states grows with the error, from day to day, and the coverage
# stays close to 90 %. The network learned this from the likelihood alone: nobody told it how large
# its errors are.

# %%
assert errors["with attention"] < 0.8 * errors["27 days before"]
assert errors["with attention"] < 0.95 * errors["without attention"]
assert 0.84 < coverage < 0.95

# %% [markdown]
# ## What next
#
# - [Outputs that are numbers](../decoding-and-search.md#outputs-that-are-numbers): `unroll`.
# - [Decoders](../mechanisms.md#decoders): the equations of both decoders.
# - [Text classification](text_classification.md): attention without a decoder.
