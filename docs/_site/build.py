"""Builds the site: collects the hand-written pages, adds the generated ones, and checks what came out.

Usage:
    python docs/_site/build.py

The pages are collected in build/docs, with their configuration in build/mkdocs.yml, and the site is written to site/.
The build stops at a broken link, at an object that does not exist, at a public name without a page, and at a page that
fetches something from the network.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Collection
from typing import Any

import yaml
from pages import generated

import pliant

ROOT = pathlib.Path(__file__).parents[2]
BUILD = ROOT / "build"
PAGES = BUILD / "docs"
SITE = ROOT / "site"

# Files of the root that are pages as well, and what their links mean on the site.
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
WITHOUT_SIDEBAR = "---\nhide: [navigation]\n---\n\n"
LINKS = {**ROOT_PAGES, "examples/": "get_started/your_network.md"}
FILES = ["CITATION.cff"]


def main() -> None:
    """Collects, builds, checks."""
    collect()
    extensions = os.pathsep.join([str(pathlib.Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": extensions}
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--config-file",
        str(BUILD / "mkdocs.yml"),
    ]
    if subprocess.run(command, env=environment, cwd=ROOT).returncode:
        raise SystemExit("the site was not built; the lines above name the pages")
    problems = [*without_a_page(), *fetched()]
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{sum(1 for _ in SITE.rglob('*.html'))} pages: open {SITE / 'index.html'}")


def collect() -> None:
    """Fills build/: all pages, hand-written or generated, and the configuration with all of them in its `nav`."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("_*"))
    for source, page in ROOT_PAGES.items():
        text = on_the_site((ROOT / source).read_text(encoding="utf-8"))
        (PAGES / page).write_text(WITHOUT_SIDEBAR * (page == "index.md") + text, encoding="utf-8")
    for file in FILES:
        shutil.copy(ROOT / file, PAGES)
    for path, text in generated():
        (PAGES / path).parent.mkdir(parents=True, exist_ok=True)
        (PAGES / path).write_text(text, encoding="utf-8")
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    configuration |= {"docs_dir": str(PAGES), "site_dir": str(SITE), "nav": navigation(configuration["nav"])}
    (BUILD / "mkdocs.yml").write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")


def on_the_site(markdown: str) -> str:
    """A page of the root with its links as they are on the site."""
    return re.sub(r"\]\(([^)#]+)", lambda link: f"]({LINKS.get(link[1], link[1].removeprefix('docs/'))}", markdown)


def navigation(nav: list) -> list:
    """The `nav` with each folder (`methods/`) replaced by its pages: all that stand nowhere else, `index.md` first."""
    named = set(re.findall(r"[\w/]+\.md", str(nav)))

    def expanded(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {title: expanded(item) for title, item in entry.items()}
        if isinstance(entry, list):
            return [page for item in entry for page in (_pages(item, named) if _is_folder(item) else [expanded(item)])]
        return _pages(entry, named) if _is_folder(entry) else entry

    return expanded(nav)


def _is_folder(entry: Any) -> bool:
    return isinstance(entry, str) and entry.endswith("/")


def _pages(folder: str, named: Collection[str]) -> list:
    pages = sorted((PAGES / folder).glob("*.md"), key=lambda page: (page.stem != "index", page.stem))
    paths = {page: f"{folder}{page.name}" for page in pages}
    return [path if page.stem == "index" else {_title(page): path} for page, path in paths.items() if path not in named]


def _title(page: pathlib.Path) -> str:
    """The heading of a page, or its name where mkdocstrings writes the heading."""
    heading = re.match(r"(?:---\n.*?\n---\n+)?# (.+)", page.read_text(encoding="utf-8"), re.DOTALL)
    return heading[1].partition("\n")[0] if heading else page.stem


def without_a_page() -> list[str]:
    """A line for each public name of pliant that the site does not document."""
    documented = set(re.findall(r"^(\S+) py:", _inventory(), re.MULTILINE))
    public = [name for name in dir(pliant) if not name.startswith("_")]
    return [
        f"pliant.{name} has no page; write `::: pliant.{name}` in a page of docs/reference"
        for name in public
        if f"pliant.{name}" not in documented
    ]


def _inventory() -> str:
    """The names that have a place on the site, from Sphinx's format: four lines of text, then compressed lines."""
    *_, compressed = (SITE / "objects.inv").read_bytes().split(b"\n", 4)
    return zlib.decompress(compressed).decode()


def fetched() -> list[str]:
    """A line for each page that would fetch a script, style sheet, font or picture from elsewhere."""
    foreign = re.compile(
        r"""<(?:script|img|iframe)[^>]* src=["']?(https?:[^"'> ]+)|<link[^>]*stylesheet[^>]*(https?:[^"'> ]+)"""
    )
    return [
        f"{page.relative_to(SITE)} fetches {found[0]}"
        for page in sorted(SITE.rglob("*.html"))
        for found in foreign.finditer(page.read_text(encoding="utf-8"))
    ]


if __name__ == "__main__":
    main()
