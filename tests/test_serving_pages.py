"""The pages of served models in a browser: typing, pictures, and words that are pointed at."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).parents[1]
HOSTILE = '<b>&amp;"</b><img src=x>'
TEXT = tf.TensorSpec([None], tf.string, name="text")
IMAGE = tf.TensorSpec([None], tf.string, name="image")


class Reverser(tf.Module):
    """Outputs as those of a translator: the words in the opposite order, each from its word."""

    @tf.function(input_signature=[TEXT], autograph=False)
    def translate(self, text):
        words = tf.strings.split(text)
        padded = words.to_tensor()  # (B, S)
        width = tf.shape(padded)[1]
        marked = tf.where(padded == "", "", tf.strings.join(["\u2581", padded]))
        lengths = words.row_lengths()
        turned = tf.reverse_sequence(marked, lengths, seq_axis=1, batch_axis=0)
        texts = tf.strings.reduce_join(words[:, ::-1], axis=1, separator=" ")
        at = tf.reverse_sequence(tf.eye(width, batch_shape=[tf.size(text)]), lengths, 2, 0)
        attention = 0.75 * at + 0.25 * tf.roll(at, 1, axis=2)
        # Behind the words stands the end.
        ends = [[0, 0], [0, 1]]
        return {
            "text": texts,
            "tokens": tf.pad(turned, ends),
            "source_tokens": tf.pad(marked, ends),
            "source_length": lengths + tf.cast(lengths > 5, tf.int64),
            "score": tf.zeros_like(lengths, tf.float32),
            "n_best_text": tf.stack([texts, text], axis=1),
            "n_best_score": tf.tile([[-0.5, -1.25]], [tf.size(text), 1]),
            "attention": tf.pad(attention, [[0, 0], [0, 1], [0, 1]]),
        }


class Seer(tf.Module):
    """Outputs as those of a captioner: it looks left at "left", and right at "right"."""

    @tf.function(input_signature=[IMAGE], autograph=False)
    def caption(self, image):
        count = tf.size(image)
        with tf.control_dependencies(
            [tf.map_fn(lambda data: tf.shape(tf.io.decode_image(data)), image, tf.int32)]
        ):
            maps = tf.constant([[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]])  # (T, 1, 2)
        return {
            "text": tf.fill([count], HOSTILE),
            "words": tf.tile([["left", "right", ""]], [count, 1]),
            "score": tf.fill([count], -1.5),
            "attention": tf.tile(maps[None], [count, 1, 1, 1]),
        }


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Gives the address of a served toy, one process for each of both."""
    processes = []

    def start(example, module, function):
        path = tmp_path_factory.mktemp(example) / "saved_model"
        tf.saved_model.save(module, str(path), signatures={"serving_default": function})
        command = [sys.executable, "-m", f"examples.{example}", "serve", "--model", str(path)]
        process = subprocess.Popen(
            [*command, "--port", "0"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]

    yield start
    for process in processes:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def translator(served):
    module = Reverser()
    return served("translation", module, module.translate)


@pytest.fixture(scope="module")
def captioner(served):
    module = Seer()
    return served("captioning", module, module.caption)


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium, driver = (
        next(filter(None, map(shutil.which, names)), None),
        shutil.which("chromedriver"),
    )
    if not chromium or not driver:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1300,900"):
        options.add_argument(f"--{argument}")
    options.add_argument("--disable-background-networking")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def opened(browser):
    """Opens a page; no test may cause a request to another host, or a message but `allowed`."""
    allowed = []

    def open_(address):
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(address)
        return allowed

    yield open_
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert [m for m in messages if not any(text in m for text in allowed)] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert len(requested) >= 4, "the page and its files"
    assert {url.split(":")[0] for url in requested} <= {"http", "data", "blob"}
    hosts = {url.split("/")[2].split(":")[0] for url in requested if url.startswith("http:")}
    assert hosts == {"127.0.0.1"}


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def wait(browser, condition):
    """Waits until `condition()` is true."""
    return WebDriverWait(browser, 30, 0.05).until(lambda _: condition())


def words(browser, line):
    return browser.find_elements(By.CSS_SELECTOR, f"#{line} button")


def write(browser, text, expected):
    """Types a text and waits for its translation."""
    field = find(browser, "#text")
    field.clear()
    field.send_keys(text)
    wait(browser, lambda: find(browser, "#translation").text == expected)


def shares(browser, line):
    """The percentages below the words, and how strong the color behind them is."""
    weight = "word.style.getPropertyValue('--weight')"
    script = f"return arguments[0].map((word) => [word.dataset.share, {weight}])"
    found = browser.execute_script(script, words(browser, line))
    return [share for share, _ in found], [float(weight) for _, weight in found]


def point_at(browser, element):
    webdriver.ActionChains(browser).move_to_element(element).perform()


# ---------------------------------------------------------------- translation


def test_a_line_is_translated_as_it_is_typed(browser, opened, translator):
    opened(translator)
    assert not find(browser, "#alignment").is_displayed()
    write(browser, "a red cat", "cat red a")
    assert [word.text for word in words(browser, "source")] == ["a", "red", "cat"]
    assert [word.text for word in words(browser, "target")] == ["cat", "red", "a"]
    rows = browser.find_elements(By.CSS_SELECTOR, "#n-best li")
    assert [row.text.split("\n") for row in rows] == [
        ["cat red a", "\u22120.50"],
        ["a red cat", "\u22121.25"],
    ]
    write(browser, " ", "")
    assert not find(browser, "#alignment").is_displayed()


def test_the_words_that_belong_to_the_one_that_is_pointed_at(browser, opened, translator):
    opened(translator)
    write(browser, "a red cat", "cat red a")
    point_at(browser, words(browser, "target")[0])  # "cat", from "cat", and a quarter from "a"
    assert shares(browser, "source") == (["25 %", "", "75 %"], [0.25, 0, 0.75])
    assert shares(browser, "target") == (["", "", ""], [0, 0, 0])
    assert find(browser, "#told").text == "cat: cat 75 %, a 25 %"
    point_at(browser, words(browser, "source")[0])  # and back
    assert shares(browser, "target") == (["25 %", "", "75 %"], [0.25, 0, 0.75])
    assert shares(browser, "source") == (["", "", ""], [0, 0, 0])
    point_at(browser, find(browser, "h1"))
    assert shares(browser, "source")[1] == shares(browser, "target")[1] == [0, 0, 0]
    words(browser, "target")[1].click()
    point_at(browser, find(browser, "h1"))
    assert shares(browser, "source")[1] == [0, 0.75, 0.25], "the one that was tapped stays"


def test_the_keyboard_goes_from_word_to_word(browser, opened, translator):
    opened(translator)
    write(browser, "a red", "red a")
    seen = []
    for _ in range(3):
        webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()
        seen.append(
            browser.execute_script(
                "return [...document.querySelectorAll('.chosen')].map((w) => w.firstChild.data)"
            )
        )
        assert browser.switch_to.active_element.get_attribute("class") == "chosen"
    assert seen == [["a"], ["red"], ["red"]]
    assert shares(browser, "source")[1] == [0.25, 0.75]


def test_any_text_is_text(browser, opened, translator):
    opened(translator)
    write(browser, HOSTILE, " ".join(HOSTILE.split()[::-1]))
    assert [word.text for word in words(browser, "source")] == HOSTILE.split()
    assert browser.find_elements(By.CSS_SELECTOR, "main b, main img") == []


def test_right_to_left(browser, opened, translator):
    opened(translator)
    write(browser, "אני אוהב", "אוהב אני")
    x = [word.location["x"] for word in words(browser, "source")]
    assert x[0] > x[1]


def test_what_is_cut_and_what_is_refused_is_said(browser, opened, translator):
    allowed = opened(translator)
    write(browser, "a b c d e f", "f e d c b a")
    wait(browser, lambda: "the model reads 6 tokens" in find(browser, "#status").text)
    allowed.append("400")  # the browser's own message
    browser.execute_script(
        "arguments[0].value = 'a'.repeat(5000); arguments[0].dispatchEvent(new Event('input'))",
        find(browser, "#text"),
    )
    wait(browser, lambda: "5000 bytes; expected at most 4096" in find(browser, "#status").text)
    assert "wrong" in find(browser, "#status").get_attribute("class")
    assert find(browser, "#translation").text == ""


def test_pieces_become_words(browser, opened, translator):
    """Pieces of a byte each are characters, and scripts without spaces have a word for each."""
    opened(translator)
    script = """
        const done = arguments[1];
        import("/words.js").then(({ joined }) => done(joined(arguments[0]).map((w) => w.text)));
    """
    pieces = [
        "\u2581one",
        ",",
        "\u2581",
        "re",
        "d",
        "\u2581",
        "<0xC3>",
        "<0xA9>",
        "\u2581猫",
        "が",
        "",
    ]
    found = browser.execute_async_script(script, pieces)
    assert found == ["one,", "red", "é", "猫", "が"]


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sizes_and_schemes(browser, opened, translator, captioner, width, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    try:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for address in (captioner, translator):
            opened(address)
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide == width, "nothing stands out"
            style = "getComputedStyle(document.body)"
            colors = browser.execute_script(f"return [{style}.backgroundColor, {style}.color]")
            page, text = (int(color.strip("rgb()").split(",")[0]) for color in colors)
            assert (page > 200, text > 200) == ((scheme == "light"), (scheme == "dark"))
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# ---------------------------------------------------------------- captioning


DROP = """
    const [target, name, base64] = arguments;
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
    target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
"""


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (60, 40), (200, 200, 200)).save(path)
    return path


def darkness(browser):
    """The alpha of the map over the left and the right half."""
    script = """
        const map = document.getElementById("map");
        const { width, height } = map;
        const copy = Object.assign(document.createElement("canvas"), { width, height });
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(map, 0, 0);
        const { data } = context.getImageData(0, 0, width, height);
        return [data[3], data[7]];
    """
    return browser.execute_script(script)


@pytest.mark.parametrize("way", ["choose", "drop"])
def test_a_picture_gets_a_sentence_and_its_maps(browser, opened, captioner, picture, way):
    opened(captioner)
    assert not find(browser, "#result").is_displayed()
    if way == "choose":
        find(browser, "#file").send_keys(str(picture))
    else:
        data = base64.b64encode(picture.read_bytes()).decode()
        browser.execute_script(DROP, find(browser, "#drop"), picture.name, data)
    wait(browser, lambda: words(browser, "words"))
    assert find(browser, "#caption").text == HOSTILE
    assert find(browser, "#picture").get_attribute("alt") == HOSTILE
    wait(browser, lambda: find(browser, "#picture").get_property("naturalWidth") == 60)
    assert find(browser, "#score").text == "\u22121.50"
    assert [word.text for word in words(browser, "words")] == ["left", "right"]
    assert darkness(browser) == [0, 0], "at first the picture is as it is"
    for word, is_dark in zip(words(browser, "words"), ([0, 1], [1, 0]), strict=True):
        point_at(browser, word)
        assert [alpha > 150 for alpha in darkness(browser)] == [bool(each) for each in is_dark]
    point_at(browser, find(browser, "h1"))
    assert darkness(browser) == [0, 0]


def test_what_is_no_picture_is_said(browser, opened, captioner, picture, tmp_path):
    allowed = opened(captioner)
    allowed.append("400")
    other = tmp_path / "other.png"
    other.write_text("no picture")
    find(browser, "#file").send_keys(str(other))
    wait(browser, lambda: "wrong" in find(browser, "#status").get_attribute("class"))
    assert "Unknown image file format" in find(browser, "#status").text
    assert not find(browser, "#result").is_displayed()
    find(browser, "#file").send_keys(str(picture))
    wait(browser, lambda: find(browser, "#result").is_displayed())
