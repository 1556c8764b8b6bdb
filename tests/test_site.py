"""The built site, in the folder that KDJAX_SITE names: nothing is fetched from elsewhere, no link is dead."""

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

SITE = os.environ.get("KDJAX_SITE", "")
FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}

needs_site = pytest.mark.skipif(not SITE, reason="KDJAX_SITE does not name a built site")


class Page(HTMLParser):
    """What a page fetches, where it links to, and the places in it that can be linked."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.links, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors.add(found.get("id"))
        if tag == "a":
            self.links.append(found.get("href"))
        elif tag in FETCHED:
            self.fetched.append(found.get(FETCHED[tag]))


def problems(folder):
    """Returns a line for each thing that a page fetches from elsewhere or that is not there."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for address in filter(None, [*page.fetched, *page.links]):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.fetched and parts.scheme != "data":
                    found.append(f"{path.name} fetches {address}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{path.name}: {address} is not there")
            elif parts.fragment and target in pages and not _has(pages[target], parts.fragment):
                found.append(f"{path.name}: {address} has no such place")
    for path in folder.rglob("*.css"):
        if "url(http" in path.read_text("utf-8").replace("'", "").replace('"', ""):
            found.append(f"{path.name} fetches from elsewhere")
    return found


def _has(page, fragment):
    return unquote(fragment) in page.anchors


@needs_site
def test_the_site_is_whole_and_fetches_nothing():
    folder = Path(SITE).resolve()
    assert len(list(folder.rglob("*.html"))) > 20
    assert problems(folder) == []


def test_what_would_be_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<script src="https://cdn.example/x.js"></script><a href="b.html#here">b</a><a href="b.html#there">b</a>'
        '<img src="c.png"><a href="https://example.org">elsewhere</a>'
    )
    (tmp_path / "b.html").write_text('<p id="here">')
    (tmp_path / "d.css").write_text("p { background: url('http://example.org/a.png') }")
    assert problems(tmp_path) == [
        "a.html fetches https://cdn.example/x.js",
        "a.html: c.png is not there",
        "a.html: b.html#there has no such place",
        "d.css fetches from elsewhere",
    ]
