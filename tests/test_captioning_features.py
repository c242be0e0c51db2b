"""The captioning example's frozen encoder, and the features that are kept of it on disk."""

import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import types
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from examples.captioning import decoding, efficientnet, features, images
from examples.common.errors import UserError

ROOT = Path(__file__).parents[1]


def refused(call, *arguments):
    """The one line of the UserError that a call must raise."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- the weight file


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Writes arrays as torch.save did before 1.6: the pickler finds a torch that is a stand-in."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise AssertionError("the file is to be read without torch")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Tensor:
        def __init__(self, key, array, view):
            self.storage = ("storage", key, array)
            shape, strides = array.shape, [step // array.itemsize for step in array.strides]
            self.view = view or (0, shape, tuple(strides))

        def __reduce__(self):
            return _rebuild_tensor_v2, (self.storage, *self.view, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if type(value) is tuple and len(value) == 3 and value[0] == "storage":
                _, key, array = value
                kind = torch.FloatStorage if array.dtype == "f4" else torch.LongStorage
                return ("storage", kind, key, "cpu", array.size, None)
            return None

    def save(arrays, views=None, name="weights.pth", order=None):
        path = tmp_path / name
        state = OrderedDict()
        for key, array in arrays.items():
            state[key] = Tensor(f"7{key}", array, (views or {}).get(key))
        with path.open("wb") as file:
            for value in (efficientnet.MAGIC, 1001, {"little_endian": True}):
                pickle.dump(value, file, protocol=2)
            Pickler(file, protocol=2).dump(state)
            pickle.dump(order or [f"7{key}" for key in arrays], file, protocol=2)
            for array in arrays.values():
                file.write(array.size.to_bytes(8, "little") + array.tobytes(order="A"))
        return path

    return save


def arrays():
    generator = np.random.default_rng(5)
    return {
        "a.weight": generator.standard_normal((5, 3, 2)).astype("f4"),
        "b.weight": np.asfortranarray(generator.standard_normal((7, 11)).astype("f4")),
        "counter": np.array(13, "i8"),
    }


def test_a_file_reads_as_it_was_written(save):
    found = efficientnet.read_state(save(arrays()))
    assert list(found) == list(arrays())
    for name, array in arrays().items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


class Call:
    """Unpickles as what `function` gives for `arguments`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    "function",
    [exec, eval, __import__, getattr, open, subprocess.call, pickle.loads, Path, np.load],
    ids=lambda function: function.__name__,
)
@pytest.mark.parametrize("at", [0, 1, 2, 4])
def test_a_pickle_that_calls_anything_is_refused(save, tmp_path, function, at):
    """In whichever of the pickles it stands, and before it is called."""
    path = save(arrays())
    parts = [efficientnet.MAGIC, 1001, {"little_endian": True}, OrderedDict(), []]
    parts[at] = Call(function, f"open({str(tmp_path / 'called')!r}, 'w')")
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    message = refused(efficientnet.read_state, path)
    assert f"{path}: not a readable file of PyTorch weights (it asks for " in message
    assert function.__name__ in message
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "view",
    [
        (-1, (5, 3, 2), (6, 2, 1)),
        (1, (5, 3, 2), (6, 2, 1)),
        (0, (6, 3, 2), (6, 2, 1)),
        (0, (5, 3, 2), (60, 2, 1)),
        (24, (5, 3, 2), (-6, 2, 1)),
        (0, (5, 3, -2), (6, 2, 1)),
        (0, (5, 3, 2), (6, 2)),
        (0, (2**40, 2**40), (1, 1)),
        (0.5, (5, 3, 2), (6, 2, 1)),
        (0, "five", (6, 2, 1)),
        (0, (5, None), (6, 2)),
    ],
)
def test_a_tensor_never_reaches_out_of_its_storage(save, view):
    path = save(arrays(), {"a.weight": view})
    assert f"{path}: not a readable file" in refused(efficientnet.read_state, path)


def test_a_file_that_is_cut_off_anywhere(save):
    path = save(arrays())
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert str(path) in refused(efficientnet.read_state, path)


def test_a_damaged_file_is_refused_or_holds_arrays(save):
    path = save(arrays())
    whole = path.read_bytes()
    chooser, refusals = random.Random(3), 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chooser.randint(1, 4)):
            damaged[chooser.randrange(len(whole) - 300)] = chooser.randrange(256)
        path.write_bytes(damaged)
        try:
            state = efficientnet.read_state(path)
        except UserError:
            refusals += 1
        else:
            assert all(isinstance(array, np.ndarray) for array in state.values())
    assert refusals > 100


def test_other_files(save, tmp_path):
    with zipfile.ZipFile(tmp_path / "new.pth", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({}))
    for content in (None, b"", b"hello", pickle.dumps({}), pickle.dumps(efficientnet.MAGIC)):
        path = tmp_path / ("old.pth" if content is not None else "new.pth")
        if content is not None:
            path.write_bytes(content)
        assert f"{path}: not a readable file" in refused(efficientnet.encoder, path)
    assert "cannot be read (No such file" in refused(efficientnet.encoder, tmp_path / "x")
    assert "missing, (3, 3, 3, 32) is needed" in refused(efficientnet.encoder, save(arrays()))


# ---------------------------------------------------------------- the network


@pytest.fixture(scope="module")
def state():
    return efficientnet.read_state(efficientnet.find_packaged_weights())


@pytest.fixture(scope="module")
def encoder():
    return efficientnet.encoder()


def used(state):
    return {
        key: array
        for key, array in state.items()
        if not key.startswith("_fc.") and not key.endswith("num_batches_tracked")
    }


def test_every_weight_is_used_exactly_once(state, encoder):
    """Of all arrays but the classifier's and the counters; told apart by what they hold."""

    def digests(given):
        return Counter(np.sort(np.ravel(array)).tobytes() for array in given)

    in_file = digests(used(state).values())
    assert max(in_file.values()) == 1
    assert digests(weight.numpy() for weight in encoder.weights) == in_file
    assert len(state) - len(used(state)) == 2 + sum("tracked" in key for key in state)
    assert encoder.count_params() == 3_413_024
    assert encoder.trainable_weights == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("_bn0.running_mean"), "bn0.running_mean is missing, (32,) is needed"),
        (lambda s: s.update(_se=np.zeros(3)), "1 weights are left over, se among them"),
        (
            lambda s: s.update({"_bn1.bias": np.zeros(1536, "f4")}),
            "bn1.bias is of shape (1536,), (1280,) is needed",
        ),
        (
            lambda s: s.update({"_conv_head.weight": np.zeros((1280, 320), "f4")}),
            "conv_head.weight is of shape (1280, 320), (1, 1, 320, 1280) is needed",
        ),
    ],
)
def test_weights_of_another_architecture(state, change, told):
    other = dict(state)
    change(other)
    message = refused(efficientnet.fill, efficientnet.architecture(), other, Path("x.pth"))
    assert message == f"x.pth: not the weights of EfficientNet-Lite0 ({told})"


def test_the_network_equals_the_paper_s(state, encoder):
    """Against the layers written out in NumPy, with the padding of the original."""

    def convolve(x, name, stride=1, depthwise=False):
        kernel = state[name + ".weight"].astype("f8")  # (out, in, k, k), as in PyTorch
        k = kernel.shape[-1]
        size = -(-x.shape[0] // stride)
        pad = max((size - 1) * stride + k - x.shape[0], 0)
        x = np.pad(x, [(pad // 2, pad - pad // 2)] * 2 + [(0, 0)])
        y = 0.0
        for i in range(k):
            for j in range(k):
                part, tap = x[i::stride, j::stride][:size, :size], kernel[:, :, i, j]
                y = y + (part * tap[:, 0] if depthwise else part @ tap.T)
        return y

    def normalize(x, name):
        scale, shift, mean, variance = (
            state[f"{name}.{part}"].astype("f8")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift

    def relu6(x):
        return np.clip(x, 0, 6)

    image = np.random.default_rng(1).integers(0, 256, (6, 6, 3)).astype("uint8")
    pixels = np.asarray(Image.fromarray(image).resize((224, 224)), "f4")
    x = relu6(normalize(convolve((pixels - 127.0) / 128, "_conv_stem", 2), "_bn0"))
    for number in range(16):
        name, start = f"_blocks.{number}.", x
        if number > 0:
            x = relu6(normalize(convolve(x, name + "_expand_conv"), name + "_bn0"))
        stride = 2 if number in (1, 3, 5, 11) else 1
        x = convolve(x, name + "_depthwise_conv", stride, depthwise=True)
        x = relu6(normalize(x, name + "_bn1"))
        x = normalize(convolve(x, name + "_project_conv"), name + "_bn2")
        if x.shape == start.shape:
            x = x + start
    x = relu6(normalize(convolve(x, "_conv_head"), "_bn1"))
    found = encoder(pixels[None], training=False)[0].numpy()
    assert found.shape == x.shape == (7, 7, 1280)
    assert x.std() > 0.1
    np.testing.assert_allclose(found, x, atol=2e-3)


# ---------------------------------------------------------------- features on disk


def small_encoder():
    """64x64 pixels to (2, 2, 5); the same each time."""
    keras.utils.set_random_seed(3)
    layers = [keras.Input((64, 64, 3)), keras.layers.Conv2D(5, 32, 32, activation="tanh")]
    return keras.Sequential(layers)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(2)
    for i in range(15):
        values = generator.integers(0, 256, (5, 6, 3), "uint8")
        Image.fromarray(values).resize((70, 66)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture
def compute(folder, tmp_path, monkeypatch):
    """The features of all pictures, four a file."""
    monkeypatch.setattr(features, "SHARD", 4)

    def compute(cache="cache", encoder=None, names=None):
        source = images.open_images(folder)
        encoder = encoder or small_encoder()
        return features.compute(encoder, source, names or source.names(), tmp_path / cache, 3)

    return compute


def files(tmp_path, cache="cache"):
    return sorted((tmp_path / cache).glob("*/[0-9]*.npy"))


def test_features_are_those_of_each_picture(compute, folder, tmp_path):
    found = compute()
    source, encoder = images.open_images(folder), small_encoder()
    assert (len(found), found.shape, found.dtype) == (15, (2, 2, 5), np.float16)
    assert len(files(tmp_path)) == 4
    for i, name in enumerate(source.names()):
        picture = decoding.decode(tf.constant(source.read(name)), 64)
        np.testing.assert_allclose(found[i], encoder(picture[None])[0], atol=1e-3)
    np.testing.assert_array_equal(found.take([14, 0, 4]), [found[14], found[0], found[4]])
    assert isinstance(found.shards[0], np.memmap)


def test_pixels_are_kept_the_same_way(compute, folder):
    found = compute(encoder=24)
    source = images.open_images(folder)
    assert (len(found), found.shape, found.dtype) == (15, (24, 24, 3), np.uint8)
    picture = decoding.decode(tf.constant(source.read("07.png")), 24)
    np.testing.assert_array_equal(found[7], np.round(picture))


def test_a_second_time_nothing_is_computed(compute, tmp_path):
    first = compute().take(range(15))
    before = {file: file.stat().st_mtime_ns for file in files(tmp_path)}
    np.testing.assert_array_equal(compute().take(range(15)), first)
    assert {file: file.stat().st_mtime_ns for file in files(tmp_path)} == before


def not_float16(file):
    np.save(file, np.load(file).astype("float32"))


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes()[:50]),
        lambda file: file.write_bytes(b"hello" * 40),
        lambda file: np.save(file, np.load(file)[:3]),
        lambda file: np.save(file, np.array([{}, []], dtype=object)),
        not_float16,
    ],
    ids=["gone", "empty", "cut", "head", "text", "rows", "objects", "type"],
)
def test_a_damaged_file_is_computed_again(compute, tmp_path, damage):
    whole = compute().take(range(15))
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files(tmp_path)}
    damaged = files(tmp_path)[2]
    damage(damaged)
    np.testing.assert_array_equal(compute().take(range(15)), whole)
    after = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files(tmp_path)}
    assert after[damaged][1] == before[damaged][1]
    del before[damaged], after[damaged]
    assert after == before


def test_other_weights_pictures_or_order_have_another_folder(compute, folder, tmp_path):
    source, encoder, changed = images.open_images(folder), small_encoder(), small_encoder()
    names = source.names()
    changed.weights[1].assign_add(np.full(5, 1e-3))
    cases = [(encoder, names), (encoder, names[::-1]), (encoder, names[1:]), (changed, names)]
    digests = [features.fingerprint(case[0], source, case[1]) for case in [*cases, (64, names)]]
    assert len(set(digests)) == 5
    assert features.fingerprint(small_encoder(), images.open_images(folder), names) == digests[0]
    compute()
    (folder / "03.png").write_bytes((folder / "04.png").read_bytes())
    found = compute()
    assert len(list((tmp_path / "cache").iterdir())) == 2
    np.testing.assert_array_equal(found[3], found[4])


def test_a_picture_that_cannot_be_decoded_is_named_and_poisons_nothing(compute, folder, tmp_path):
    good = (folder / "09.png").read_bytes()
    (folder / "09.png").write_bytes(good[:-40])
    assert refused(compute) == f"{folder}: cannot be decoded: 09.png"
    assert len(files(tmp_path)) == 2
    assert list((tmp_path / "cache").glob("*/.*")) == []
    (folder / "09.png").write_bytes(good)
    np.testing.assert_array_equal(compute().take(range(15)), compute("other").take(range(15)))


def test_a_cache_that_cannot_be_written(compute, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert "cannot be written (" in refused(compute)


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_captioning_features import small_encoder
from examples.captioning import features, images

class Slow(images.Images):
    def __init__(self, inner):
        self.inner, self.path = inner, inner.path
    def names(self):
        return self.inner.names()
    def read(self, name):
        time.sleep(0.2)
        return self.inner.read(name)
    def size(self, name):
        return self.inner.size(name)
    def stamp(self, name):
        return self.inner.stamp(name)

features.SHARD = 4
source = Slow(images.open_images(Path({folder!r})))
features.compute(small_encoder(), source, source.names(), Path({cache!r}), 3)
"""


def test_a_kill_costs_one_file_and_no_more(compute, folder, tmp_path):
    script = SCRIPT.format(
        tests=str(ROOT / "tests"), folder=str(folder), cache=str(tmp_path / "cache")
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not files(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    stderr = process.communicate()[1].decode()
    before = {file: file.stat().st_mtime_ns for file in files(tmp_path)}
    assert process.returncode == -signal.SIGKILL, stderr
    assert 1 <= len(before) < 4
    # What a kill in the midst of writing leaves behind.
    (next(iter(before)).parent / ".4711.00003.npy").write_bytes(b"half")
    resumed, unbroken = compute(), compute("unbroken")
    np.testing.assert_array_equal(resumed.take(range(15)), unbroken.take(range(15)))
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert [file.name for file in files(tmp_path)] == [f"{number:05}.npy" for number in range(4)]
    assert list((tmp_path / "cache").glob("*/.*")) == []


def test_one_works_while_the_others_wait(compute, folder, tmp_path):
    source = images.open_images(folder)
    digest = features.fingerprint(small_encoder(), source, source.names())
    other = threading.Thread(target=compute)
    with features.lock(tmp_path / "cache" / digest):
        other.start()
        other.join(1)
        assert other.is_alive()
        assert files(tmp_path) == []
    other.join(60)
    assert len(files(tmp_path)) == 4
