"""Check the pages that Sphinx has built: each link leads somewhere, pictures have a text, nothing is fetched from elsewhere,
and every public name has a page.

    python tools/check_site.py build/docs
"""

import importlib
import re
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

MODULES = ["xentc", "xentc.special", "xentc.files", "xentc.plotting", "xentc.scorers", "xentc.dask"]
# What a page loads by itself, as against what a reader may follow.
LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded, self.pictures_without_text = {""}, [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.update({attributes.get("id"), attributes.get("name")} - {None})
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag in LOADED and attributes.get(LOADED[tag]):
            self.loaded.append(attributes[LOADED[tag]])
        # Pictures of the gallery stand beside their title, in the same link.
        if tag == "img" and not attributes.get("alt") and not attributes["src"].endswith(("_thumb.png", "_thumb.svg")):
            self.pictures_without_text.append(attributes["src"])


def problems_of(site):
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html")) if site / "_static" not in path.parents}
    count, problems = 0, []
    for path, page in pages.items():
        name = path.relative_to(site)
        problems += [f"{name}: {picture} has no text" for picture in page.pictures_without_text]
        problems += [f"{name} loads {url}" for url in page.loaded if urlsplit(url).netloc]
        for url in page.links + page.loaded:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                problems.append(f"{name}: {url} is not there")
            elif target in pages and unquote(parts.fragment) not in pages[target].ids:
                problems.append(f"{name}: {url} has no such place")
    for path in site.rglob("*.css"):
        urls = re.findall(r"url\(\s*['\"]?((?:https?:)?//[^'\")]+)", path.read_text())
        problems += [f"{path.relative_to(site)} loads {url}" for url in urls]
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    known = {line.split(" ")[0] for line in inventory.splitlines()}
    for module in MODULES:
        public = [f"{module}.{name}" for name in importlib.import_module(module).__all__]
        problems += [f"{name} has no page" for name in public if name not in known]
    print(f"{len(pages)} pages, {count} links")
    return problems


if __name__ == "__main__":
    found = problems_of(Path(sys.argv[1]).resolve())
    print(*found, sep="\n")
    sys.exit(bool(found))
