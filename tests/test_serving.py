"""The server of exported models: TF Serving's REST interface, batches, limits, errors, its end."""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import uvicorn
from typer.testing import CliRunner

from benchmarks.serving import measure
from examples.captioning import scenes
from examples.captioning.cli import app as captioning
from examples.captioning.images import open_images
from examples.captioning.use_commands import PIXEL
from examples.serving.batcher import Batcher
from examples.serving.limits import Limits, RequestError
from examples.serving.model import Model
from examples.serving.pages import read_page
from examples.serving.server import make_app
from examples.translation.cli import app as translation

ROOT = Path(__file__).parents[1]
LIMITS = Limits(body=20_000, rows=8, string=100)
TEXTS = tf.TensorSpec([None], tf.string, name="text")
NUMBERS = tf.TensorSpec([None, 2], tf.float32, name="x")


class Toy(tf.Module):
    """Signatures of many kinds; one refuses the text "bad", as a decoder refuses a picture."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0)
        self.scale = tf.Variable(2.0)

    @tf.function(input_signature=[TEXTS])
    def read(self, text):
        self.calls.assign_add(1)
        is_good = tf.reduce_all(text != "bad")
        with tf.control_dependencies([tf.debugging.Assert(is_good, ["a bad text"])]):
            upper = tf.strings.upper(text)
        length = tf.strings.length(text)
        return {
            "source_length": tf.cast(length, tf.int64),
            "upper": upper,
            "raw_bytes": text,
            "half": tf.cast(length, tf.float32) / 2,
        }

    @tf.function(input_signature=[NUMBERS])
    def double(self, x):
        return {"y": self.scale * x}

    @tf.function(
        input_signature=[
            NUMBERS,
            tf.TensorSpec([None], tf.int32, name="n"),
            tf.TensorSpec([], tf.bool, name="flag"),
        ]
    )
    def mixed(self, x, n, flag):
        return {"sum": tf.reduce_sum(x) * tf.cast(flag, tf.float32), "n": n}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "saved_model"
    module = Toy()
    signatures = {"serving_default": module.read, "double": module.double, "mixed": module.mixed}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


class Served:
    """A model, served in a thread of this process."""

    def __init__(self, model, limits=LIMITS, name="toy"):
        self.model, self.name = model, name
        app = make_app(model, name, read_page("translation", name), limits)
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=[[self.socket]])
        self.thread.start()

    def stop(self):
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()

    def ask(self, method, path, body=None, headers=None):
        """The status, the headers and the body of a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def predict(self, question, path=""):
        path = path or f"/v1/models/{self.name}:predict"
        body = question if isinstance(question, bytes) else json.dumps(question).encode()
        status, _, answer = self.ask("POST", path, body)
        return status, json.loads(answer)


@pytest.fixture(scope="module")
def served(toy):
    server = Served(Model(toy, "translator", "text", "source_length", b"a"))
    yield server
    server.stop()


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


# ---------------------------------------------------------------- the interface


def test_status_and_metadata(served):
    for version in ("", "/versions/1"):
        status, headers, body = served.ask("GET", f"/v1/models/toy{version}")
        (state,) = json.loads(body)["model_version_status"]
        assert status == 200
        assert headers["content-type"] == "application/json"
        assert (state["version"], state["state"]) == ("1", "AVAILABLE")
        assert state["status"] == {"error_code": "OK", "error_message": ""}
        _, _, body = served.ask("GET", f"/v1/models/toy{version}/metadata")
        metadata = json.loads(body)
        assert metadata["model_spec"] == {"name": "toy", "signature_name": "", "version": "1"}
        definitions = metadata["metadata"]["signature_def"]["signature_def"]
        assert set(definitions) == {"serving_default", "double", "mixed"}
        x = definitions["double"]["inputs"]["x"]
        assert x["dtype"] == "DT_FLOAT"
        assert [axis["size"] for axis in x["tensor_shape"]["dim"]] == ["-1", "2"]
        assert definitions["double"]["method_name"] == "tensorflow/serving/predict"


E = b64("É!".encode())
READ = [
    {"source_length": 1, "upper": "A", "raw_bytes": b64(b"a"), "half": 0.5},
    {"source_length": 3, "upper": "É!", "raw_bytes": E, "half": 1.5},
]


@pytest.mark.parametrize(
    "rows",
    [
        ["a", "É!"],
        [{"text": "a"}, {"text": "É!"}],
        [b64(b"a"), {"text": b64("É!".encode())}["text"]],
    ],
)
def test_rows(served, rows):
    for path in ("/v1/models/toy:predict", "/v1/models/toy/versions/1:predict"):
        assert served.predict({"instances": rows}, path) == (200, {"predictions": READ})


@pytest.mark.parametrize("inputs", [["a", "É!"], {"text": ["a", "É!"]}, {"text": ["a", E]}])
def test_columns(served, inputs):
    columns = {name: [row[name] for row in READ] for name in READ[0]}
    assert served.predict({"inputs": inputs}) == (200, {"outputs": columns})


def test_a_single_output_has_no_name(served):
    question = {"signature_name": "double", "instances": [[1, 2.5], [-3, 4]]}
    assert served.predict(question) == (200, {"predictions": [[2, 5], [-6, 8]]})
    question = {"signature_name": "double", "inputs": [[1, 2.5]]}
    assert served.predict(question) == (200, {"outputs": [[2, 5]]})
    question = {"signature_name": "double", "instances": [{"x": [1, 2]}]}
    assert served.predict(question) == (200, {"predictions": [[2, 4]]})


def test_inputs_of_different_rows_and_none(served):
    inputs = {"x": [[1, 2], [3, 4]], "n": [5], "flag": True}
    answer = served.predict({"signature_name": "mixed", "inputs": inputs})
    assert answer == (200, {"outputs": {"sum": 10, "n": [5]}})
    assert served.predict({"inputs": {"text": []}})[1]["outputs"]["upper"] == []


def test_numbers_that_json_does_not_have(served):
    body = b'{"signature_name": "double", "inputs": [[NaN, -Infinity]]}'
    status, _, answer = served.ask("POST", "/v1/models/toy:predict", body)
    assert (status, answer) == (200, b'{"outputs":[[NaN,-Infinity]]}')


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (b"", "not JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 19_000, "not JSON (maximum recursion depth exceeded"),
        ([], "expected a JSON object"),
        ({}, "expected one of 'instances' and 'inputs'"),
        ({"instances": ["a"], "inputs": ["a"]}, "expected one of"),
        ({"instances": "a"}, "'instances': expected a list with at least one row"),
        ({"instances": []}, "'instances': expected a list with at least one row"),
        ({"instances": ["a", {"text": "b"}]}, "'instances', row 1: objects and plain values"),
        ({"instances": [{"txt": "a"}]}, "'instances', row 0: expected the keys 'text'"),
        ({"inputs": {"text": ["a"], "more": 1}}, "'inputs': expected the keys 'text'"),
        ({"instances": [1]}, "'text': 1; expected a string"),
        ({"instances": [None]}, "'text': null; expected a string"),
        ({"instances": [{"b64": "?"}]}, "'text': cannot be decoded"),
        ({"instances": [["a"]]}, "'text': a value of shape (1, 1); expected (any number,)"),
        (b'{"instances": ["\\ud800"]}', "'text': cannot be decoded"),
        ({"instances": ["a"], "signature_name": 1}, "'signature_name': expected a string"),
        (
            {"instances": ["a"], "signature_name": "none"},
            "no signature named 'none'",
        ),
        ({"signature_name": "double", "inputs": [[1, 2], [3]]}, "'x': lists of unequal lengths"),
        ({"signature_name": "double", "inputs": [[1, [2]]]}, "'x': a list; expected a number"),
        ({"signature_name": "double", "inputs": [[1, True]]}, "'x': true; expected a number"),
        ({"signature_name": "double", "inputs": [[1, "a"]]}, "'x': \"a\"; expected a number"),
        ({"signature_name": "double", "inputs": [[1, 1e39]]}, "outside of float32"),
        (
            {"signature_name": "double", "inputs": [[1, 10**400]]},
            "outside of float32",
        ),
        ({"signature_name": "double", "inputs": [[1, 2, 3]]}, "expected (any number, 2)"),
        ({"signature_name": "mixed", "inputs": [1]}, "an object with the keys 'flag', 'n', 'x'"),
        ({"signature_name": "mixed", "instances": [1]}, "objects with the keys 'flag', 'n', 'x'"),
        (
            {"signature_name": "mixed", "inputs": {"x": [[1, 2]], "n": [1.0], "flag": True}},
            "'n': 1.0; expected an integer",
        ),
        (
            {"signature_name": "mixed", "inputs": {"x": [[1, 2]], "n": [2**40], "flag": True}},
            "'n': a number outside of int32",
        ),
        ({"instances": ["bad"]}, "a bad text"),
        ({"instances": ["a"] * 9}, "9 rows; expected at most 8"),
        ({"inputs": ["a"] * 9}, "9 rows; expected at most 8"),
        ({"instances": ["é" * 51]}, "'text': 102 bytes; expected at most 100"),
    ],
)
def test_bad_questions(served, question, told):
    status, answer = served.predict(question)
    assert status == 400
    assert list(answer) == ["error"]
    assert told in answer["error"]
    assert "\n" not in answer["error"]
    assert served.predict({"instances": ["a"]})[0] == 200


def test_large_bodies(served):
    for size in (20_001, 1_000_000):
        status, answer = served.predict(b" " * size)
        assert (status, answer) == (413, {"error": "a body of more than 20000 bytes, the limit"})
    in_parts = (b" " * 1000 for _ in range(100))
    status, _, _ = served.ask("POST", "/v1/models/toy:predict", in_parts)
    assert status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/other/metadata", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("GET", "/v1/models/toy/versions/2", 404),
        ("POST", "/v1/models/toy/versions/2:predict", 404),
        ("GET", "/v1/models/toy/versions/one", 400),
        ("GET", "/v1/models", 400),
        ("POST", "/v1/models/toy", 400),
        ("POST", "/v1/models/toy:classify", 400),
        ("GET", "/nothing", 404),
        ("POST", "/", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/../server.py", 404),
        ("GET", "/%2e%2e/%2e%2e/setup.cfg", 404),
        ("GET", "/..%2f..%2f..%2f..%2fetc%2fpasswd", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/pages/style.css", 404),
        ("GET", "/style.css/../../server.py", 404),
        ("GET", "/v1/../../etc/passwd", 400),
        ("GET", "/v1/models/..%2f..%2fsaved_model.pb", 400),
    ],
)
def test_paths_that_are_not_there(served, method, path, status):
    found, headers, body = served.ask(method, path, b"{}" if method == "POST" else None)
    assert found == status, body
    assert list(json.loads(body)) == ["error"]
    assert "default-src 'none'" in headers["content-security-policy"]


def test_what_is_meant_for_another_host(served):
    for host, status in (("example.org", 400), ("localhost:1", 200), ("127.0.0.1", 200)):
        found, _, body = served.ask("GET", "/", headers={"Host": host})
        assert found == status, body


def test_the_page_names_the_model_and_allows_no_other_host(served):
    _, headers, body = served.ask("GET", "/")
    assert b'content="toy"' in body
    policy = headers["content-security-policy"]
    sources = set(re.findall(r"(?:src|uri|action|ancestors) ([^;]*)", policy))
    assert sources == {"'none'", "'self'", "blob: data:"}
    loaded = re.findall(rb'(?:src|href)="([^"]*)"', body)
    assert loaded == [b"data:,", b"/style.css", b"/translation.js"]


# ---------------------------------------------------------------- batches


def gathered(run, questions, limits=LIMITS):
    """What a batcher answers to questions (key, inputs, rows) that come at the same time."""

    async def ask_all():
        batcher = Batcher(run, limits, patience=0.05)
        try:
            jobs = [asyncio.create_task(batcher(*question)) for question in questions]
            return await asyncio.gather(*jobs, return_exceptions=True)
        finally:
            await asyncio.to_thread(batcher.close)

    return asyncio.run(ask_all())


def numbers(*values):
    return {"x": np.array(values)}


def slow_double(calls):
    """Doubles its rows, and refuses negative ones."""

    def run(key, inputs):
        calls.append((key, inputs["x"].tolist()))
        time.sleep(0.1)
        if (inputs["x"] < 0).any():
            raise RequestError("negative")
        return {"y": 2 * inputs["x"]}

    return run


def test_what_comes_at_the_same_time_is_one_call():
    calls = []
    questions = [("k", numbers(n, n + 0.5), 2) for n in range(4)]
    answers = gathered(slow_double(calls), questions)
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(answer["y"], [2 * n, 2 * n + 1])
    assert 1 <= len(calls) <= 2, "the first alone, the others together"


def test_a_batch_has_rows_of_one_kind_up_to_the_limit():
    calls = []
    questions = [("a" if n % 2 else "b", numbers(*[n] * 3), 3) for n in range(8)]
    questions.append(("a", numbers(9), None))
    answers = gathered(slow_double(calls), questions)
    for (_, inputs, _), answer in zip(questions, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], 2 * inputs["x"])
    assert all(len(values) <= LIMITS.rows for _, values in calls)
    for key, values in calls:
        assert {int(value) % 2 for value in values} <= {1 if key == "a" else 0}
    assert ("a", [9]) in calls


def test_an_error_belongs_to_one_request():
    calls = []
    questions = [("k", numbers(n), 1) for n in (1, 2, -3, 4, 5)]
    answers = gathered(slow_double(calls), questions)
    assert isinstance(answers.pop(2), RequestError)
    assert [answer["y"].tolist() for answer in answers] == [[2], [4], [8], [10]]


def test_too_many_that_wait():
    questions = [("k", numbers(n), 1) for n in range(5)]
    answers = gathered(slow_double([]), questions, Limits(body=1, rows=1, string=1, waiting=3))
    refused = [answer for answer in answers if isinstance(answer, RequestError)]
    assert {error.status for error in refused} == {503}
    assert "the limit" in str(refused[0])
    assert 1 <= len(refused) <= 2


@pytest.mark.parametrize("bad", [0, 1])
def test_many_clients_share_calls_and_get_their_own_answers(served, bad):
    calls = served.model.loaded.calls
    before, found, clients, each = int(calls), {}, 6, 15

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        for turn in range(each):
            text = "bad" if number < bad else f"t{number}-{turn}"
            connection.request("POST", "/v1/models/toy:predict", json.dumps({"inputs": [text]}))
            response = connection.getresponse()
            found[number, turn] = response.status, json.loads(response.read())
        connection.close()

    threads = [threading.Thread(target=client, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == clients * each
    for (number, turn), (status, answer) in found.items():
        if number < bad:
            assert (status, list(answer)) == (400, ["error"])
        else:
            assert answer["outputs"]["upper"] == [f"T{number}-{turn}"]
    if not bad:  # halves of a batch that fails are calls of their own
        assert int(calls) - before < clients * each


# ---------------------------------------------------------------- models of the examples


def command(app, *arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@contextlib.contextmanager
def serving(*model):
    server = Served(Model(*model), Limits(body=10**6, rows=8, string=10**5), model[1])
    try:
        yield server
    finally:
        server.stop()


def close_to(found, expected):
    """Whether JSON holds what the signature gave."""
    for name, value in expected.items():
        value = value.numpy()
        if value.dtype == object:
            assert found[name] == np.char.decode(value.astype(bytes), "utf-8").tolist()
        else:
            np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_a_translator_of_the_example(tmp_path):
    pairs, folder = tmp_path / "pairs.tsv", tmp_path / "run"
    pairs.write_text("".join(f"a {n}\tun {n}\n" for n in range(200)))
    small = ["--units", 8, "--encoder-units", 4, "--embedding", 8, "--max-length", 12]
    command(translation, "train", "--pairs", pairs, *small, "--epochs", 1, "--out", folder)
    command(translation, "export", "--out", folder, "--beam-width", 3)
    texts = ["a 1", "", "a 2 3"]
    with serving(folder / "saved_model", "translator", "text", "source_length", b"a") as server:
        status, answer = server.predict({"inputs": texts})
        assert status == 200
        signature = server.model.signatures["serving_default"]
        assert signature.has_rows
        close_to(answer["outputs"], signature.function(tf.constant(texts)))
        _, rows = server.predict({"instances": [b64(text.encode()) for text in texts]})
        assert [row["text"] for row in rows["predictions"]] == answer["outputs"]["text"]
        found = measure(os.getpid(), server.port, requests=40, clients=4)
        assert found["lost"] == 0
        assert found["times"] > 0
        assert min(found["resident_mib"].values()) > 0


def test_a_captioner_of_the_example(tmp_path):
    scenes.write(tmp_path, {"train": 16, "dev": 4, "test": 2})
    data = ["--images", tmp_path / "images.tar", "--captions", tmp_path / "captions.json"]
    small = ["--units", 8, "--channels", 4, "--attention-units", 4, "--embedding", 8, "--size", 48]
    folder, options = tmp_path / "study", ["--batch-size", 8, "--max-length", 8, "--epochs", 1]
    command(captioning, "train", *data, *small, *options, "--out", folder)
    command(captioning, "export", "--out", folder, "--length-penalty", 2)
    images = open_images(tmp_path / "images.tar")
    pictures = [images.read(f"test-{i:05}.png") for i in range(2)]
    with serving(folder / "saved_model", "captioner", "image", "attention", PIXEL) as server:
        status, answer = server.predict({"inputs": {"image": [b64(data) for data in pictures]}})
        assert status == 200
        signatures = server.model.signatures
        close_to(answer["outputs"], signatures["serving_default"].function(tf.constant(pictures)))
        pixels = np.full((1, 48, 48, 3), 99.0, "float32")
        question = {"signature_name": "pixels", "instances": pixels.tolist()}
        (row,) = server.predict(question)[1]["predictions"]
        expected = signatures["pixels"].function(tf.constant(pixels))
        close_to({name: [row[name]] for name in row}, expected)
        status, answer = server.predict({"instances": [b64(b"no picture")]})
        assert status == 400
        assert "not a JPEG, PNG, GIF or WebP picture" in answer["error"]


# ---------------------------------------------------------------- the command


def fail(app, *arguments):
    """The one line on stderr of `serve`, which must end with exit code 2."""
    result = CliRunner().invoke(app, ["serve", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr


def test_what_cannot_be_served(toy, tmp_path):
    assert f"{tmp_path / 'none'}: no such folder" in fail(
        translation, "--model", tmp_path / "none", "--port", 0
    )
    (tmp_path / "config.json").write_text("{}")
    assert f"{tmp_path}: no exported model" in fail(translation, "--model", tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    line = fail(translation, "--model", tmp_path, "--port", 0)
    assert f"{tmp_path}: not an exported translator, or damaged" in line
    line = fail(captioning, "--model", toy, "--port", 0)
    assert f"{toy}: not an exported captioner, or damaged (no output named 'attention')" in line
    assert "--name a/b: expected letters" in fail(translation, "--model", toy, "--name", "a/b")


def test_a_model_that_fails(tmp_path):
    """Its names are those of a translator, its input is not."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="text")])
    def double(text):
        return {"source_length": 2 * text}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures=double)
    assert f"{tmp_path}: not an exported translator: it fails" in fail(
        translation, "--model", tmp_path, "--port", 0
    )


def test_without_the_packages(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    line = fail(translation, "--model", toy, "--port", 0)
    assert "uvicorn is missing: pip install 'keras-attention-layers[serve]'" in line


def test_a_port_that_is_taken(toy):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fail(translation, "--model", toy, "--port", port)
    assert f"--port {port}: another program uses it" in line


def test_a_port_without_permission(toy, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert "--port 80: no permission for it" in fail(translation, "--model", toy, "--port", 80)


PROGRAM = """
import sys, tensorflow
before = {name for name in sys.modules if name.startswith("keras")}
from examples.translation.cli import app
try:
    app(sys.argv[1:])
finally:
    loaded = {name for name in sys.modules if name.startswith("keras")} - before
    print("loaded", *loaded)
"""


def test_a_process_serves_without_keras_until_ctrl_c(toy):
    arguments = ["serve", "--model", str(toy), "--port", "0", "--name", "mine"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/v1/models/mine", address)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/models/mine:predict", '{"inputs": ["a"]}')
        assert json.loads(connection.getresponse().read())["outputs"]["upper"] == ["A"]
        with pytest.raises(OSError, match="refused"):  # nothing listens elsewhere
            socket.create_connection(("127.0.0.2", port), timeout=5)
        process.send_signal(signal.SIGINT)  # with a connection that is open
        out, err = process.communicate(timeout=60)
        connection.close()
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out == "loaded\n"
    assert "Traceback" not in err
