"""A griffe extension: the docstrings of pliant, written for readers of the source, as Markdown.

Links change from reStructuredText to Markdown, and sections that griffe does not know get a heading in bold.
"""

import re
from typing import Any

import griffe

_LINK = re.compile(r"`([^`<]+?)\s+<([^`>]+)>`_")
_HEADINGS = ("Differs from the authors' code", "Differs from the paper", "Differs from MiniGrid", "References")
_PARAGRAPH = re.compile(rf"^({'|'.join(_HEADINGS)}):\s+(.*(?:\n.*\S.*)*)", re.MULTILINE)
_SIGNALS = re.compile(r"^Signals:\n((?:[ ]+.*\n?|\n(?=[ ]))+)", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


def as_markdown(docstring: str) -> str:
    """A docstring of pliant as Markdown with Google's sections."""
    text = _LINK.sub(lambda link: f"[{' '.join(link[1].split())}]({link[2]})", docstring)
    text = _SIGNALS.sub(_signals, text)
    text = _PARAGRAPH.sub(lambda part: f"**{part[1]}.** {_sentence(part[2])}", text)
    return _EXAMPLE.sub("Examples:", text)


def _sentence(paragraph: str) -> str:
    """A paragraph on one line, with a capital letter: indented lines would be code in Markdown."""
    text = " ".join(paragraph.split())
    return text[:1].upper() + text[1:]


def _signals(section: re.Match[str]) -> str:
    """The section as a list: one signal an item."""
    entries = re.split(r"\n(?=    \S)", section[1].rstrip())
    items = []
    for entry in entries:
        name, _, text = " ".join(entry.split()).partition(": ")
        items.append(f"- `{name}`: {text}")
    return "**Signals.** What each step needs beside gradients and parameters:\n\n" + "\n".join(items) + "\n"


class Docstrings(griffe.Extension):
    """Called by griffe for each object that it reads."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites the object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
