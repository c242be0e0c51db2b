"""Shows the built site in Chromium: `python docs/scripts/screenshots.py site out/screenshots`.

Four pages, on a screen of 1300 pixels and on a phone of 390, light and dark. At 1300 pixels no page
of the site, and nothing on it, may scroll sideways: what does is printed and ends the run with 1.
"""

import contextlib
import functools
import http.server
import itertools
import pathlib
import shutil
import sys
import threading

from selenium import webdriver

PAGES = ["", "tutorials/captioning/", "mechanisms/", "api/"]
WIDE, PHONE = 1300, 390
SCHEMES = ["light", "dark"]
# What is wider than the box in which it is shown.
WIDER = """
return [document.scrollingElement, ...document.querySelectorAll("article *")]
  .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX != "visible"
    && getComputedStyle(e).overflowX != "hidden" && getComputedStyle(e).display != "inline")
  .map((e) => e.tagName.toLowerCase() + ": " + e.textContent.trim().slice(0, 60));
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *unused):
        pass


@contextlib.contextmanager
def served(folder):
    """The address of a server of the folder, on this machine alone."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def browser():
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def show(driver, url, width, scheme="light"):
    """Opens a page; returns what is wider than its box."""
    screen = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(url)
    return driver.execute_script(WIDER)


def main(site, target):
    site, target = pathlib.Path(site), pathlib.Path(target)
    if not (site / "index.html").is_file():
        raise SystemExit(f"{site}: no index.html; expected a site that `make docs` has built")
    if not shutil.which("chromedriver"):
        raise SystemExit("chromedriver: not found; expected Chromium and its driver")
    target.mkdir(parents=True, exist_ok=True)
    with served(site) as address, browser() as driver:
        for page, width, scheme in itertools.product(PAGES, (WIDE, PHONE), SCHEMES):
            show(driver, f"{address}/{page}", width, scheme)
            name = page.strip("/").replace("/", "-") or "index"
            driver.save_screenshot(target / f"{name}-{width}-{scheme}.png")
        wide = {}
        for path in sorted(site.rglob("index.html")):
            page = path.parent.relative_to(site).as_posix()
            wide[page] = show(driver, f"{address}/{page}/", WIDE)
    found = [f"{page}: {what}" for page, wider in wide.items() for what in wider]
    print("\n".join(found) or f"{len(wide)} pages: none scrolls sideways at {WIDE} pixels")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
