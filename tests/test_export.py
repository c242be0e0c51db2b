"""Export: SavedModels that TensorFlow alone serves; ONNX and LiteRT where the format can."""

import os
import subprocess
import sys

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter

import keras_attention as ka
from comparing import assert_close, numbers, tensors, to_numpy
from marks import more
from table import OTHER_SIZES, SIZES, SMALLEST_SIZES, TABLE, one_per_layer

# By default each layer is exported to one of the formats.
SAVED, ONNX, LITERT = (
    pytest.mark.parametrize("row", one_per_layer(part=part, parts=3), ids=str) for part in range(3)
)
EVERY_SIZE = [SIZES, OTHER_SIZES, SMALLEST_SIZES]

# Runs in a process of its own, without this library and Keras.
SERVE = """
import pathlib, sys
import numpy as np
import tensorflow as tf

folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("*/saved_model.pb")):
    model = tf.saved_model.load(str(path.parent))
    for feed in sorted(folder.glob(path.parent.name + ".*.npz")):
        name = feed.name.split(".")[1]
        inputs = {key: tf.constant(value) for key, value in np.load(feed).items()}
        outputs = model.signatures[name](**inputs)
        np.savez(feed.with_suffix(".served"), **{k: v.numpy() for k, v in outputs.items()})
assert "keras_attention" not in sys.modules
"""


def serve(folder):
    """Runs every SavedModel of `folder` on its files `<model>.<signature>.<anything>.npz`."""
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr


def served(feed):
    return dict(np.load(f"{feed.with_suffix('.served')}.npz"))


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """Every row that is tested as a SavedModel, run by one process without this library."""
    folder = tmp_path_factory.mktemp("served")
    tests = [item for item in request.session.items if "folder" in item.fixturenames]
    for row in [item.callspec.params["row"] for item in tests]:
        ka.export.saved_model(row.functional(row.new()), folder / row.name)
        for i, sizes in enumerate(EVERY_SIZE):
            inputs, masks = row.arrays(sizes)
            np.savez(folder / f"{row.name}.serving_default.{i}.npz", **inputs, **masks)
    serve(folder)
    return folder


@SAVED
def test_saved_models_need_tensorflow_alone(row, folder):
    """Named inputs and outputs, the same numbers, other batches and lengths."""
    layer = row.new()
    for i, sizes in enumerate(EVERY_SIZE):
        inputs, masks = row.arrays(sizes)
        outputs = served(folder / f"{row.name}.serving_default.{i}.npz")
        assert set(outputs) == set(row.outputs)
        wanted = numbers(row.call(layer, tensors(inputs), masks))
        assert_close([outputs[name] for name in row.outputs], wanted)


# ---- Named signatures


def translator(**options):
    """A model with random weights, and its search as a signature: ids in, everything out."""
    (row,) = [row for row in TABLE if row.name == "encoder_decoder"]
    model = row.new()

    def translate(source):
        state = model.begin(source)
        return ka.search.beam(model.step, state, 1, 2, 6, beam_width=3, **options)._asdict()

    return model, translate


SOURCE = tf.TensorSpec([None, None], "int32", name="source")


def test_searches_are_served_on_any_batch_and_length(tmp_path):
    model, translate = translator(length_penalty_weight=0.6, coverage_penalty_weight=0.2)

    def attend(source, target_in):
        return {"weights": model.attention_scores((source, target_in))}

    target = tf.TensorSpec([None, None], "int32", name="target_in")
    signatures = {"translate": (translate, [SOURCE]), "attend": (attend, [SOURCE, target])}
    ka.export.saved_model(model, tmp_path / "model", signatures)
    sources = [np.array([[3, 4, 5, 0, 0], [6, 0, 0, 0, 0], [7, 8, 9, 10, 11]]), np.array([[5, 4]])]
    for i, source in enumerate(sources):
        source = source.astype("int32")
        np.savez(tmp_path / f"model.translate.{i}.npz", source=source)
        np.savez(tmp_path / f"model.attend.{i}.npz", source=source, target_in=source[:, :2])
    serve(tmp_path)
    for i, source in enumerate(sources):
        outputs, wanted = served(tmp_path / f"model.translate.{i}.npz"), translate(source)
        assert set(outputs) == {"tokens", "lengths", "log_probs", "scores", "attention"}
        assert_close([outputs[name] for name in wanted], numbers(list(wanted.values())))
        weights = served(tmp_path / f"model.attend.{i}.npz")["weights"]
        assert_close([weights], numbers(model.attention_scores((source, source[:, :2]))))
        assert (np.moveaxis(weights, 2, 1)[source == 0] == 0).all()


def test_resources_come_along(tmp_path):
    model, translate = translator()
    words = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(["a", "b", "c"]), tf.constant([3, 4, 5], tf.int32)
        ),
        default_value=1,
    )

    def from_text(text):
        ids = words.lookup(tf.strings.split(text)).to_tensor()
        return {"tokens": translate(ids)["tokens"]}

    spec = tf.TensorSpec([None], "string", name="text")
    ka.export.saved_model(model, tmp_path / "model", {"text": (from_text, [spec])}, [words])
    np.savez(tmp_path / "model.text.0.npz", text=np.array(["a b c", "c x"]))
    serve(tmp_path)
    wanted = translate(np.array([[3, 4, 5], [5, 1, 0]]))["tokens"]
    tokens = served(tmp_path / "model.text.0.npz")["tokens"]
    np.testing.assert_array_equal(tokens, to_numpy(wanted))


def test_no_output_of_a_layer_with_several_is_lost(tmp_path):
    query = keras.Input((None, 5), name="query")
    outputs = ka.Attention(name="look")(query, query, return_attention_scores=True)
    ka.export.saved_model(keras.Model(query, outputs), tmp_path / "model")
    model = tf.saved_model.load(str(tmp_path / "model"))
    x = np.random.default_rng(1).normal(size=(2, 3, 5)).astype("float32")
    results = model.signatures["serving_default"](query=tf.constant(x))
    shapes = sorted(tuple(result.shape) for result in results.values())
    assert shapes == [(2, 3, 3), (2, 3, 5)]


def nested_model(nest_outputs, nest_inputs=list):
    """A model of two tensors, with another number in each output."""
    query, value = (keras.Input((None, 5), name=name) for name in ("query", "value"))
    context, weights = ka.Attention(name="look")(query, value, return_attention_scores=True)
    return keras.Model(nest_inputs([query, value]), nest_outputs(context, weights))


def serve_here(model, path, **inputs):
    """Returns the outputs of the exported model, by name."""
    ka.export.saved_model(model, path)
    loaded = tf.saved_model.load(str(path))
    return loaded.signatures["serving_default"](**inputs)


NESTS = {
    "dict": (lambda c, w: {"weights": w, "doc": c}, ["doc", "weights"]),
    "nested dict": (lambda c, w: {"a": {"doc": c, "w": w}, "b": w}, ["a_doc", "a_w", "b"]),
    "dict of lists": (lambda c, w: {"maps": [w, c], "doc": c}, ["doc", "maps_0", "maps_1"]),
    "list of dicts": (lambda c, w: [{"doc": c}, {"doc": w}], ["0_doc", "1_doc"]),
    "list": (lambda c, w: [c, w], ["look", "look_1"]),
    "nested list": (lambda c, w: [c, [w, c]], ["look", "look_1", "look_2"]),
    "one": (lambda c, w: c, ["look"]),
}


@pytest.mark.parametrize("nest", NESTS)
def test_outputs_are_named_by_their_paths(nest, tmp_path):
    structure, names = NESTS[nest]
    model = nested_model(structure)
    x, y = np.random.default_rng(1).normal(size=(2, 2, 3, 5)).astype("float32")
    outputs = serve_here(model, tmp_path / "model", query=x, value=y)
    assert sorted(outputs) == names
    wanted = keras.tree.flatten(model([x, y]))  # sorted by keys, as the names are
    assert_close([outputs[name] for name in names], numbers(wanted))


def test_inputs_are_named_by_their_paths(tmp_path):
    def nest(pair):
        return {"value": pair[1], "extra": {"query": pair[0]}}

    model = nested_model(lambda c, w: {"doc": c}, nest)
    x, y = np.random.default_rng(1).normal(size=(2, 2, 3, 5)).astype("float32")
    outputs = serve_here(model, tmp_path / "model", extra_query=x, value=y)
    assert_close([outputs["doc"]], [to_numpy(model(nest([x, y]))["doc"])])


def test_a_sequential_model_is_served_by_the_names_of_its_ends(tmp_path):
    layers = [keras.Input((None, 5), name="x"), ka.SelfAttention(2, 3, name="look")]
    model = keras.Sequential(layers)
    x = np.random.default_rng(1).normal(size=(2, 3, 5)).astype("float32")
    outputs = serve_here(model, tmp_path / "model", x=x)
    assert_close([outputs["look"]], [to_numpy(model(x))])


def test_equal_names_are_an_error_that_names_them(tmp_path):
    model = nested_model(lambda c, w: {"maps": {"left": w}, "maps_left": c, "doc": c})
    with pytest.raises(ValueError, match=r"outputs of equal names: \['maps_left'\]"):
        ka.export.saved_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


# ---- What was there before


def test_an_export_replaces_an_export(tmp_path):
    model, translate = translator()
    for _ in range(2):
        ka.export.saved_model(model, tmp_path / "model", {"translate": (translate, [SOURCE])})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert "translate" in tf.saved_model.load(str(tmp_path / "model")).signatures


def test_requests_to_warm_up_with_are_kept(tmp_path):
    model, translate = translator()
    for _ in range(2):
        ka.export.saved_model(model, tmp_path / "model", {"translate": (translate, [SOURCE])})
        requests = tmp_path / "model" / "assets.extra" / "tf_serving_warmup_requests"
        if not requests.exists():
            requests.parent.mkdir()
            requests.write_bytes(b"requests")
    assert requests.read_bytes() == b"requests"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failed_export_leaves_the_old_one(tmp_path):
    model, translate = translator()
    ka.export.saved_model(model, tmp_path / "model", {"translate": (translate, [SOURCE])})

    def broken(source):
        raise RuntimeError("no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        ka.export.saved_model(model, tmp_path / "model", {"translate": (broken, [SOURCE])})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert "translate" in tf.saved_model.load(str(tmp_path / "model")).signatures


def test_other_folders_and_files_are_never_replaced(tmp_path):
    model, translate = translator()
    (tmp_path / "folder").mkdir()
    for name in ("folder/thesis.tex", "file"):
        (tmp_path / name).write_text("mine")
        path = (tmp_path / name.split("/")[0]).resolve()
        with pytest.raises(ValueError, match="`path`") as error:
            ka.export.saved_model(model, path, {"translate": (translate, [SOURCE])})
        assert str(path) in str(error.value)
        assert (tmp_path / name).read_text() == "mine"


def test_a_model_that_is_not_functional_needs_signatures(tmp_path):
    model, _ = translator()
    with pytest.raises(ValueError, match=r"`signatures`.*encoder_decoder"):
        ka.export.saved_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


# ---- Keras's own export of models


def model_over(encoder, attention=ka.BahdanauAttention):
    decoder = ka.BahdanauDecoder(keras.layers.GRUCell(7), attention(5))
    return ka.models.EncoderDecoder(encoder, target_embedding(), decoder, keras.layers.Dense(13))


def target_embedding():
    return keras.layers.Embedding(13, 6, mask_zero=True)


def recurrent():
    gru = keras.layers.GRU(5, return_sequences=True)
    return model_over(keras.Sequential([keras.layers.Embedding(13, 6, mask_zero=True), gru]))


def transformer():
    encoder = [target_embedding(), ka.TransformerEncoderBlock(num_heads=2, intermediate_dim=11)]
    block = ka.TransformerDecoderBlock(num_heads=2, intermediate_dim=11)
    return ka.models.Transformer(
        keras.Sequential(encoder), target_embedding(), [block], keras.layers.Dense(13), max_length=9
    )


def over_tokens_of_a_functional_encoder():
    source = keras.Input((None,))  # float32, as Keras has it unless told otherwise
    return model_over(keras.Model(source, target_embedding()(source)))


def over_features():
    return model_over(keras.Sequential([keras.layers.Dense(5)]))


def over_images():
    images = keras.Input((7, 5, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(images)
    encoder = keras.Model(images, keras.layers.Conv2D(5, 3)(x))
    return model_over(encoder, ka.SoftSpatialAttention)


# By case: a model, the dtype of its sources, and the axes after the batch of some of them.
TOKENS, FEATURES, IMAGES = [(4,), (7,), (1,)], [(4, 3), (7, 3), (1, 3)], [(7, 5, 3)] * 3
EXPORTED = {
    "recurrent": (recurrent, "int32", TOKENS),
    "transformer": (transformer, "int32", TOKENS),
    "functional": (over_tokens_of_a_functional_encoder, "int32", TOKENS),
    "features": (over_features, "float32", FEATURES),
    "images": (over_images, "uint8", IMAGES),
}


def random_pairs(dtype, axes):
    """Sources and targets of several batch sizes and lengths."""
    random = np.random.default_rng(3)
    for batch, (source_axes, length) in enumerate(zip(axes, (3, 5, 2), strict=True), start=1):
        if dtype == "float32":
            source = random.normal(size=(batch, *source_axes))
        else:
            source = random.integers(1, 13 if dtype == "int32" else 256, (batch, *source_axes))
        source = source.astype(dtype)
        if len(source_axes) == 1:
            source[:, 3:] = 0  # padding, where it is long
        yield source, random.integers(1, 13, (batch, length)).astype("int32")


@pytest.mark.parametrize(
    ("case", "origin"),
    [
        *(("recurrent", "loaded"), ("transformer", "called")),
        *(("features", "called"), ("images", "called")),
        *more(("recurrent", "called"), ("transformer", "loaded"), ("functional", "called")),
    ],
)
def test_keras_exports_models_for_any_batch_and_length(case, origin, tmp_path):
    make, dtype, axes = EXPORTED[case]
    model = make()
    model(next(random_pairs(dtype, axes)))  # of one length
    if origin == "loaded":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    signature = loaded.signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    assert {name: spec.dtype.name for name, spec in specs.items()} == {
        "source": dtype,
        "target": "int32",
    }
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for pair in random_pairs(dtype, axes):
        wanted = [to_numpy(model(pair))]
        named = dict(zip(("source", "target"), pair, strict=True))
        assert_close(numbers(list(signature(**named).values())), wanted)
        assert_close(session.run(None, named), wanted)


def test_a_model_that_is_called_with_dicts_is_exported_too(tmp_path):
    model, (source, target) = recurrent(), next(random_pairs("int32", TOKENS))
    wanted = to_numpy(model({"source": source, "target": target}))
    model.export(tmp_path / "model", verbose=False)
    signature = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    assert_close(numbers(list(signature(source=source, target=target).values())), [wanted])


def test_a_signature_that_is_given_to_export_stays(tmp_path):
    model, specs = recurrent(), [keras.InputSpec(shape=(2, 3), dtype="int64")] * 2
    model(next(random_pairs("int32", TOKENS)))
    model.export(tmp_path / "model", verbose=False, input_signature=[tuple(specs)])
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    _, kwargs = loaded.signatures["serving_default"].structured_input_signature
    assert {(tuple(spec.shape), spec.dtype.name) for spec in kwargs.values()} == {((2, 3), "int64")}


# ---- Other formats


def exported(row, path, format):
    """Writes a row's model; returns the layer in it."""
    layer = row.new()
    model = row.functional(layer)
    inputs, masks = row.arrays()
    model({**tensors(inputs), **tensors(masks)})
    model.export(path, format=format, verbose=False)
    return layer


@ONNX
def test_onnx(row, tmp_path):
    path = str(tmp_path / "model.onnx")
    layer = exported(row, path, "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    for sizes in EVERY_SIZE:
        inputs, masks = row.arrays(sizes)
        outputs = session.run(None, {name: {**inputs, **masks}[name] for name in names})
        assert_close(outputs, numbers(row.call(layer, tensors(inputs), masks)))


@LITERT
def test_litert(row, tmp_path):
    path = str(tmp_path / "model.tflite")
    layer = exported(row, path, "litert")
    runner = interpreter.Interpreter(path).get_signature_runner()
    for sizes in EVERY_SIZE:
        inputs, masks = row.arrays(sizes)
        if "litert" in row.limits:
            # If a limit is gone, the table has to change.
            with pytest.raises(RuntimeError, match=row.limits["litert"]):
                runner(**inputs, **masks)
            continue
        outputs = list(runner(**inputs, **masks).values())
        assert_close(outputs, numbers(row.call(layer, tensors(inputs), masks)))


def test_what_litert_cannot_run_is_the_loop_of_keras(tmp_path):
    """The limit that rows of recurrent layers state is not one of this library."""
    path, inputs = str(tmp_path / "model.tflite"), keras.Input((None, 3), name="x")
    model = keras.Model(inputs, keras.layers.GRU(5)(inputs))
    model(np.ones((2, 3, 3), "float32"))
    model.export(path, format="litert", verbose=False)
    with pytest.raises(RuntimeError, match="Select TensorFlow op"):
        interpreter.Interpreter(path).get_signature_runner()(x=np.ones((2, 3, 3), "float32"))
