"""The index of the results book, and what the pages of the repository say about themselves."""

from pathlib import Path

import pytest

from pliant.reproduction.index import FrontMatter, FrontMatterError, index_of, read_front_matter

BOOK = Path(__file__).parents[2] / "docs" / "results"
PAGE = FrontMatter(
    "Toy: a figure", "pliant reproduce toy", "10 of 100 steps", "2 of 30", "2026-11-28", "0123456789ab+", "reproduce"
)


def test_the_index_of_the_repository_is_the_one_of_its_pages():
    assert (BOOK / "index.md").read_text(encoding="utf-8") == index_of(BOOK)


@pytest.mark.parametrize("page", [page for page in sorted(BOOK.glob("*.md")) if page.name != "index.md"], ids=str)
def test_a_page_of_the_repository_is_whole(page):
    text = page.read_text(encoding="utf-8")
    assert f"# {read_front_matter(page).title}\n" in text
    for section in ("## What falls short", "## How it was made"):
        assert section in text
    for link in text.split("](")[1:]:  # figures, rows and other pages
        target = link.partition(")")[0]
        assert "://" in target or (BOOK / target).is_file(), target


def test_files_of_the_book_are_small_enough_for_a_repository():
    for file in BOOK.iterdir():
        assert file.stat().st_size <= {".png": 150_000, ".parquet": 300_000}.get(file.suffix, 60_000), file


def test_front_matter_is_read_as_it_was_written(tmp_path):
    page = tmp_path / "toy.md"
    page.write_text(f"{PAGE.to_text()}\n# Toy\n")
    assert read_front_matter(page) == PAGE


def test_a_row_for_each_page(tmp_path):
    (tmp_path / "toy.md").write_text(PAGE.to_text())
    (tmp_path / "index.md").write_text("an index of before")
    *_, row = index_of(tmp_path).splitlines()
    assert row == "| [Toy: a figure](toy.md) | 10 of 100 steps | 2 of 30 | `0123456+` | 2026-11-28 |  |"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Toy\n", "has no front matter"),
        ("---\ntitle: Toy\n---\n", "write title, command, scale, seeds, date, commit, source"),
        ("---\ntitle: [\n---\n", "write title, command, scale, seeds, date, commit, source"),
    ],
)
def test_a_page_without_its_front_matter_is_named(tmp_path, text, message):
    page = tmp_path / "toy.md"
    page.write_text(text)
    with pytest.raises(FrontMatterError, match=message) as error:
        index_of(tmp_path)
    assert str(page) in str(error.value)
