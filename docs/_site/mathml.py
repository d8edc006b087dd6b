"""A Markdown extension: mathematics becomes MathML while the site is built.

Browsers draw MathML by themselves. A page therefore needs no JavaScript and no network for its equations.
"""

import html
import re
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.postprocessors import Postprocessor

_NAMESPACE = "http://www.w3.org/1998/Math/MathML"
_TEX = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)
_OVERLINE, _MINUS = "\u2015", "\u2212"  # as latex2mathml writes them
_OPENS = ("(", "[", "{", ",", "=", "\u2190", "\u2264")  # a minus after one of these is a sign

ElementTree.register_namespace("", _NAMESPACE)


class _MathML(Postprocessor):
    def run(self, text: str) -> str:
        return _TEX.sub(_drawn, text)


def _drawn(match: re.Match[str]) -> str:
    display = "block" if match["tag"] == "div" else "inline"
    math = ElementTree.fromstring(convert(html.unescape(match["tex"]), display=display))
    for row in math.iter():
        _mend(row)
    return ElementTree.tostring(math, encoding="unicode")


def _mend(row: ElementTree.Element) -> None:
    """Overlines as a line of the style sheet, names of functions as names, and signs close to their number."""
    children = list(row)
    if row.tag == f"{{{_NAMESPACE}}}mover" and children[1].text == _OVERLINE:
        row.tag = f"{{{_NAMESPACE}}}mrow"
        row.set("class", "overline")
        row.remove(children[1])
    for before, child in zip([None, *children], children):
        if child.tag == f"{{{_NAMESPACE}}}mo":
            if child.text == _MINUS and (before is None or before.text in _OPENS):
                child.set("form", "prefix")
            elif re.fullmatch("[a-z]{2,}", child.text or "") and child is not children[-1]:
                child.set("lspace", "0.17em")
                child.set("rspace", "0")


class MathMLExtension(Extension):
    """Replaces what `pymdownx.arithmatex` marks with `generic: true`."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Called by Markdown once per converter."""
        md.postprocessors.register(_MathML(md), "mathml", 0)  # the last one: raw HTML is back in the text by then


def makeExtension(**settings) -> MathMLExtension:
    """Called by Markdown for the entry `mathml` of `markdown_extensions`."""
    return MathMLExtension(**settings)
