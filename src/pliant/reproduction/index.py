"""The first page of the results book, made from the front matter of its pages.

A page begins with YAML between two lines of `---`: the fields of `FrontMatter`. `pliant reproduce NAME --book` writes
pages. Pages with the `source` `copied` hold numbers of an earlier program.
"""

import dataclasses
from pathlib import Path

import yaml

_HEAD = """\
# Results

One page per figure, with our numbers beside the paper's. `pliant reproduce NAME --book` runs a recipe and
writes its pages; raw rows lie beside a page as Parquet. A page that is marked as copied holds a table of an
earlier program, with its date and commit, until its command is run again.

An interval is a 95 % percentile bootstrap interval over seeds (2,000 resamples), of the mean or of the
interquartile mean, as the page tells. Fewer than five seeds have no interval: the value of each seed stands in
parentheses. The interquartile mean leaves out the lowest and the highest quarter of
the seeds. A number of a paper is a mean; `~` marks a number of an independent simulation of the same
protocol.

| page | scale | seeds | commit | date | |
| --- | --- | --- | --- | --- | --- |
"""


class FrontMatterError(ValueError):
    """The front matter of a page is missing, or one of its fields is."""


@dataclasses.dataclass(frozen=True)
class FrontMatter:
    """The front matter of a page.

    Args:
        title: of the page.
        command: that computes its numbers.
        scale: length of its runs and of the published runs.
        seeds: number of seeds and of published seeds.
        date: on which its runs were finished, `YYYY-MM-DD`.
        commit: of the program that made the runs; `+` if files of the package were changed.
        source: `reproduce` if `pliant reproduce` wrote the page, `run` if its table was made by hand from runs of this
            program, `copied` if it holds a table of an earlier program.
    """

    title: str
    command: str
    scale: str
    seeds: str
    date: str
    commit: str
    source: str

    def to_text(self) -> str:
        """The lines at the beginning of the page."""
        return f"---\n{yaml.safe_dump(dataclasses.asdict(self), sort_keys=False, width=1000, allow_unicode=True)}---\n"


def read_front_matter(page: Path) -> FrontMatter:
    """Reads the front matter of a page.

    Raises:
        FrontMatterError: if there is none, if it is not YAML, or if a field is missing or unknown.
    """
    before, found, rest = page.read_text(encoding="utf-8").partition("---\n")
    if before or not found:
        raise FrontMatterError(f"{page} has no front matter; begin it with a line of --- and the page's title")
    try:
        fields = yaml.load(rest.partition("\n---\n")[0], yaml.BaseLoader)  # all of them texts
        return FrontMatter(**fields)
    except (yaml.YAMLError, TypeError):
        names = ", ".join(field.name for field in dataclasses.fields(FrontMatter))
        raise FrontMatterError(f"{page} has other front matter than a page of results; write {names}") from None


def index_of(folder: Path) -> str:
    """The text of the index: a row for each page of the folder, in the order of their names.

    Raises:
        FrontMatterError: if the front matter of a page is not complete.
    """
    rows = []
    for page in sorted(folder.glob("*.md")):
        if page.name != "index.md":
            said = read_front_matter(page)
            commit = f"`{said.commit[:7]}{'+' * said.commit.endswith('+')}`"
            source = "copied" if said.source == "copied" else ""
            link = f"[{said.title}]({page.name})"
            rows.append(f"| {' | '.join([link, said.scale, said.seeds, commit, said.date, source])} |")
    return _HEAD + "\n".join(rows) + "\n"
