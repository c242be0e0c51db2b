"""The pages of to_html in a browser: what is shown for the word that is pointed at."""

import json
import os
import shutil

import matplotlib
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import keras_attention as ka
from keras_attention.visualize.overlay_on_image import SHADE

matplotlib.use("Agg")

import matplotlib.pyplot as plt

HOSTILE = '</script><b>&amp;"\\u003c'
WEIGHTS = np.array([[0.1, 0.7, 0.2], [0.0, 0.25, 0.75]])
# As large as the canvas of the page, so that their pixels compare.
IMAGE = np.random.default_rng(0).uniform(size=(180, 240, 3))


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
    # The sandbox refuses root, and /dev/shm is small in containers.
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=900,1400"):
        options.add_argument(f"--{argument}")
    options.add_argument("--disable-background-networking")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser, tmp_path):
    """Opens a page of examples; no test may cause a log message or a network request."""

    def opened(*examples, title="Attention"):
        path = tmp_path / "page.html"
        ka.visualize.to_html(examples, path, title)
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(path.as_uri())
        return browser.find_elements(By.TAG_NAME, "section")

    yield opened
    plt.close("all")
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert requested, "the page itself, at least"
    assert {url.split(":")[0] for url in requested} <= {"file", "data"}


def buttons(section):
    return section.find_elements(By.TAG_NAME, "button")


def point_at(browser, element):
    webdriver.ActionChains(browser).move_to_element(element).perform()


def canvas(browser, section):
    """The pixels over the image, (H, W, 4)."""
    script = """
        const canvas = arguments[0].querySelector("canvas");
        const { width, height } = canvas;
        const copy = Object.assign(document.createElement("canvas"), { width, height });
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        return [width, height, [...context.getImageData(0, 0, width, height).data]];
    """
    width, height, pixels = browser.execute_script(script, section)
    return np.reshape(pixels, (height, width, 4))


def light(browser, section, x, y):
    """How much a position, given from 0 to 1, is lightened (above 0) or darkened (below 0)."""
    pixels = canvas(browser, section)
    height, width = pixels.shape[:2]
    red, _, _, alpha = pixels[int(y * height), int(x * width)]
    return alpha / 255 if red else -alpha / 255


def shading(browser, words):
    """The opacity of the color behind each word, and the text below it."""
    script = """
        return arguments[0].map((word) => [
            getComputedStyle(word).backgroundColor, getComputedStyle(word, "::after").content]);
    """
    found = browser.execute_script(script, words)
    colors = [color.rstrip(")").replace("/", ",").split(",") for color, _ in found]
    opacity = [float(parts[3]) if len(parts) == 4 else 1.0 for parts in colors]
    return opacity, [share.strip('"') for _, share in found]


def test_a_word_of_a_caption_lightens_its_region(browser, page):
    maps = np.zeros((3, 3, 5))
    maps[0, 0, 0] = maps[1, 2, 4] = 1  # hard attention
    maps[2] = 1 / 15
    (section,) = page(ka.visualize.Caption(IMAGE, ["left", "right", "all"], maps))
    (image,) = section.find_elements(By.TAG_NAME, "img")
    assert image.get_property("naturalWidth") == 240
    assert not canvas(browser, section).any(), "at first the image is as it is"
    left, right, everywhere = buttons(section)
    corners = (0.1, 1 / 6), (0.9, 5 / 6)
    seen = []
    for word in (left, right, everywhere):
        point_at(browser, word)
        seen.append([light(browser, section, *corner) for corner in corners])
    assert np.allclose(seen, [[0.35, -0.65], [-0.65, 0.35], [0.35, 0.35]], atol=0.04)
    point_at(browser, browser.find_element(By.TAG_NAME, "h1"))
    assert not canvas(browser, section).any(), "nothing is pointed at"


def test_the_page_shows_what_overlay_on_image_draws(browser, page):
    maps = np.random.default_rng(1).dirichlet(np.ones(35), 2).reshape(2, 5, 7)
    (section,) = page(ka.visualize.Caption(IMAGE, ["one", "two"], maps))
    figure = ka.visualize.overlay_on_image(IMAGE, maps, ["one", "two"])
    for word, ax in zip(buttons(section), figure.axes[1:], strict=False):
        point_at(browser, word)
        # Where the shade turns from black to white it is transparent.
        drawn = 255 * SHADE(ax.get_images()[1].get_array())
        found = canvas(browser, section)
        visible = (drawn[..., 3] > 5) & (found[..., 3] > 5)
        assert visible.mean() > 0.8
        np.testing.assert_allclose(found[visible], drawn[visible], atol=5)
        np.testing.assert_allclose(found[..., 3], drawn[..., 3], atol=6)


def test_the_keyboard_goes_from_word_to_word(browser, page):
    sections = page(
        ka.visualize.Caption(IMAGE, ["left", "right"], [[[1, 0]], [[0, 1]]]),
        ka.visualize.Translation(["un"], ["one"], [[1]]),
    )
    seen = []
    for _ in range(3):
        webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()
        word = browser.switch_to.active_element.text
        seen.append((word, light(browser, sections[0], 0.2, 0.5) > 0))
    assert seen == [("left", True), ("right", False), ("un", False)]
    assert not canvas(browser, sections[0]).any(), "the focus has left the caption"


def test_a_word_that_was_tapped_stays(browser, page):
    (section,) = page(ka.visualize.Caption(IMAGE, ["left", "right"], [[[1, 0]], [[0, 1]]]))
    left, right = buttons(section)
    left.click()
    point_at(browser, right)
    assert light(browser, section, 0.2, 0.5) < 0
    point_at(browser, browser.find_element(By.TAG_NAME, "h1"))
    assert light(browser, section, 0.2, 0.5) > 0


def test_captions_side_by_side(browser, page):
    """Several maps of a caption show the same word; one without maps has nothing to point at."""
    left, right = np.array([[[1, 0]]]), np.array([[[0, 1]]])
    both = {"attention": np.concatenate([left, right]), "saliency": np.concatenate([right, left])}
    captions = {
        "soft": ka.visualize.Caption(IMAGE, ["one", "two"], both, "71 %"),
        "hard": ka.visualize.Caption(IMAGE, ["three"], left),
        "none": ka.visualize.Caption(IMAGE, ["all", "of", "it"], {}),
    }
    (section,) = page(ka.visualize.Comparison(captions, "a reference\nanother"))
    columns = section.find_elements(By.CSS_SELECTOR, ":scope > div")
    assert [column.text.split("\n") for column in columns] == [
        ["soft", "attention", "saliency", "one", "two", "71 %"],
        ["hard", "three"],
        ["none", "all of it"],
    ]
    assert section.text.endswith("a reference\nanother")
    tops = {column.location["y"] for column in columns}
    assert len(tops) == 1, "they stand in one row"
    images = [column.find_elements(By.TAG_NAME, "img") for column in columns]
    assert [len(row) for row in images] == [2, 1, 1]
    assert {image.get_property("naturalWidth") for row in images for image in row} == {240}
    widths = [image.size["width"] for row in images for image in row]
    assert max(widths) - min(widths) <= 1
    alts = [row[0].get_attribute("alt") for row in images]
    assert alts == ["one two", "three", "all of it"]
    canvases = [column.find_elements(By.TAG_NAME, "canvas") for column in columns]
    assert [len(row) for row in canvases] == [2, 1, 0]
    assert [len(buttons(column)) for column in columns] == [2, 1, 0]

    seen = []
    for _ in range(3):
        webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()
        figures = section.find_elements(By.TAG_NAME, "figure")[:3]
        lights = [light(browser, f, 0.2, 0.5) for f in figures if canvas(browser, f).any()]
        seen.append((browser.switch_to.active_element.text, [x > 0 for x in lights]))
    assert seen == [("one", [True, False]), ("two", [False, True]), ("three", [True])]


def test_an_image_is_in_the_page_once():
    caption = ka.visualize.Caption(IMAGE, ["one"], [[[1, 0]]])
    one = ka.visualize.to_html([caption])
    many = ka.visualize.to_html([ka.visualize.Comparison({"a": caption, "b": caption}), caption])
    assert len(many) < 1.01 * len(one)


def test_a_word_of_a_translation_shades_the_words_it_attends_to(browser, page):
    source, target = ["le", "chat", "noir"], ["black", "cat"]
    _, section = page(
        ka.visualize.Translation(["un"], ["one"], [[1]]),
        ka.visualize.Translation(source, target, WEIGHTS, note="BLEU 31.2"),
    )
    words = buttons(section)
    assert [word.text.split("\n")[0] for word in words] == source + target
    assert "BLEU 31.2" in section.text
    point_at(browser, words[4])
    opacity, shares = shading(browser, words)
    np.testing.assert_allclose(opacity, [*WEIGHTS[1], 0, 0], atol=0.01)
    assert shares == ["", "25 %", "75 %", "", ""]
    point_at(browser, words[1])  # and back: which words attend to "chat"
    opacity, shares = shading(browser, words)
    np.testing.assert_allclose(opacity, [0, 0, 0, *WEIGHTS[:, 1]], atol=0.01)
    assert shares == ["", "", "", "70 %", "25 %"]


def test_any_text_is_text(browser, page):
    words = [HOSTILE, "{{page}}", "<!--", "חתול", "猫", "\u2028", ""]
    half = "\ud800"  # of a pair, which no file in UTF-8 can hold
    example = ka.visualize.Translation(words, [half], [[0] * 7], note=HOSTILE)
    (section,) = page(example, title=HOSTILE)
    script = "return arguments[0].map((word) => word.childNodes[0]?.data ?? '')"
    assert browser.execute_script(script, buttons(section)[:-1]) == words
    assert browser.title == browser.find_element(By.TAG_NAME, "h1").text == HOSTILE
    assert section.find_element(By.CLASS_NAME, "note").text == HOSTILE
    assert browser.find_elements(By.TAG_NAME, "b") == []


def test_a_line_runs_as_its_words_are_read(browser, page):
    hebrew, english = ["אני", "אוהב", "חתולים"], ["I", "like", "cats"]
    (section,) = page(ka.visualize.Translation(hebrew, english, np.eye(3)))
    x = [word.location["x"] for word in buttons(section)]
    assert x[0] > x[1] > x[2]
    assert x[3] < x[4] < x[5]


def test_dark_schemes_have_a_dark_page(browser, page):
    page(ka.visualize.Translation(["un"], ["one"], [[1]]))
    lightness = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        style = "getComputedStyle(document.body)"
        colors = browser.execute_script(f"return [{style}.backgroundColor, {style}.color]")
        lightness[scheme] = [int(color.strip("rgb()").split(",")[0]) for color in colors]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert lightness["light"][0] > 200
    assert lightness["light"][1] < 50
    assert lightness["dark"][0] < 50
    assert lightness["dark"][1] > 200


def test_inputs_that_are_no_plain_text_or_array():
    """Transposed weights, and a note that is a number."""
    weights = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    plain = ka.visualize.Translation(list("abc"), list("de"), weights, "nan")
    turned = ka.visualize.Translation(list("abc"), list("de"), weights.T.copy().T, float("nan"))
    assert ka.visualize.to_html([plain]) == ka.visualize.to_html([turned])
