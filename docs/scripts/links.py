"""Checks a built site: `python docs/scripts/links.py site`.

Every link, anchor, picture, script and style of every page must be there, those of the navigation
too, and nothing may be loaded from elsewhere. Zensical checks the links of the Markdown alone.
"""

import html.parser
import os
import pathlib
import sys
import urllib.parse

# What a browser loads by itself when the page is read.
LOADED = {
    ("img", "src"),
    ("script", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("source", "srcset"),
}
NOT_LOADED = {"canonical", "next", "prev"}  # kinds of <link> that name pages


class Page(html.parser.HTMLParser):
    """The anchors of a page, what it links to and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, set(), set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes.get("id"), attributes.get("name")}
        for name in ("href", "src", "srcset"):
            target = attributes.get(name)
            if target:
                self.links.add(target)
                if (tag, name) in LOADED and attributes.get("rel") not in NOT_LOADED:
                    self.loaded.add(target)


def file_of(site, path, target):
    """The file that a link on the page at `path` names, and its anchor."""
    url = urllib.parse.urlsplit(target)
    name = urllib.parse.unquote(url.path)
    file = path
    if name:
        base = site if name.startswith("/") else path.parent
        file = pathlib.Path(os.path.normpath(base / name.lstrip("/")))
    return file / "index.html" if file.is_dir() else file, urllib.parse.unquote(url.fragment)


def faults(site):
    """One line for each link that leads nowhere and each file that comes from elsewhere."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute: it is shown at any address
            continue
        where = path.relative_to(site)
        for target in sorted(page.links):
            scheme = urllib.parse.urlsplit(target).scheme
            if scheme in ("http", "https") and target in page.loaded:
                yield f"{where}: {target} is loaded from elsewhere"
            if scheme or target.startswith("//"):
                continue
            file, anchor = file_of(site, path, target)
            if not file.is_file():
                yield f"{where}: there is no {target}"
            elif file in pages and anchor not in pages[file].anchors:
                yield f"{where}: {target} has no such anchor"


def main(site):
    if not (pathlib.Path(site) / "index.html").is_file():
        raise SystemExit(f"{site}: no index.html; expected a site that `make docs` has built")
    found = list(faults(pathlib.Path(site)))
    print("\n".join(found) or "every link leads somewhere")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
