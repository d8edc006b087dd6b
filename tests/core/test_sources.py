"""Files and functions of the user as components, and which files are executed."""

import hashlib
import inspect
import pathlib
import re
import types

import pytest

from pliant.core import sources
from pliant.core.sources import SourceError

FILE = """\
import pathlib

pathlib.Path(__file__).with_suffix(".executed").touch()


def half(rate: float = 0.5):
    return rate / 2
"""


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    monkeypatch.setattr(sources, "_files", {})
    monkeypatch.setattr(sources, "_objects", {})
    sources._executed.cache_clear()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("text", "is_file"),
    [
        ("a.py", True),
        ("a/b.py:c", True),
        ("a.py:c@d", True),
        ("l2", False),
        ("a.yaml", False),
        ("apy:c", False),
        (3, False),
    ],
)
def test_a_text_with_the_ending_of_python_names_a_file(text, is_file):
    assert sources.names_file(text) is is_file


def test_the_source_is_the_files_name_and_digest(file):
    source = f"mine.py@{hashlib.sha256(FILE.encode()).hexdigest()}"
    assert sources.in_file(f"{file}:half") == {"name": "half", "source": source}
    assert sources.in_file(f"{file}:half@slow") == {"name": "half@slow", "source": source}
    assert sources.in_file(str(file)) == {"name": "mine", "source": source}
    assert not file.with_suffix(".executed").exists()


def test_a_component_is_that_of_the_file_which_is_executed_once(file):
    named = sources.in_file(f"{file}:half")
    half = sources.component(**named)
    assert half(3.0) == 1.5
    assert "return rate / 2" in inspect.getsource(half)
    file.with_suffix(".executed").unlink()
    assert sources.component(**named) is half
    assert isinstance(sources.component(**sources.in_file(str(file)), may_be_module=True), types.ModuleType)
    with pytest.raises(SourceError, match=r"mine\.py has no 'mine'; there are: half"):
        sources.component(**sources.in_file(str(file)))
    assert not file.with_suffix(".executed").exists()


def test_a_file_that_the_user_did_not_name_is_not_executed(file):
    named = sources.in_file(f"{file}:half")
    sources._files.clear()  # as in another process, which read the source in a configuration
    digest = named["source"].partition("@")[2][:8]
    message = f"mine.py (SHA-256 {digest}), which is executed only if you name it: write --source PATH/mine.py"
    with pytest.raises(SourceError, match=re.escape(message)):
        sources.component(**named)
    assert not file.with_suffix(".executed").exists()
    sources.add_file(file)
    assert sources.component(**named)(3.0) == 1.5


def test_a_file_that_was_edited_is_another_source(file):
    named = sources.in_file(f"{file}:half")
    sources._files.clear()
    file.write_text(FILE.replace("2", "4"))
    assert sources.in_file(f"{file}:half") != named
    with pytest.raises(SourceError, match=r"mine\.py has changed: the run used it as SHA-256 "):
        sources.component(**named)
    assert not file.with_suffix(".executed").exists()


def test_a_file_is_executed_as_it_was_when_it_was_named(file):
    named = sources.in_file(f"{file}:half")
    file.write_text("import nothing")
    assert sources.component(**named)(3.0) == 1.5
    assert sources.text_of(named["source"]) == FILE.encode()
    assert sources.text_of("__main__@12") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x / 0\n", "mine.py, line 2: ZeroDivisionError: division by zero"),
        ("def half(:\n", "mine.py, line 1: SyntaxError: "),
        ("import no_such_package\n", "mine.py, line 1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("def third(): ...\ndef _fourth(): ...\n", "mine.py has no 'half'; there are: third"),
        ("half = 3\ndef third(): ...\n", "mine.py has no function 'half'; there are: third"),
        ("import math as half\n", "mine.py has no function 'half'; there are: no functions"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(file, text, message):
    file.write_text(text)
    with pytest.raises(SourceError, match=re.escape(message)):
        sources.component(**sources.in_file(f"{file}:half"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no.py:half", "cannot read no.py: No such file"),
        ("{}:1half", "'1half' is not a name of Python; write"),
        ("{}:", "'' is not a name of Python; write"),
    ],
)
def test_what_names_no_component_is_refused(file, text, message):
    with pytest.raises(SourceError, match=re.escape(message)):
        sources.in_file(text.format(file))


def of_a_program(rate: float = 0.5):
    """A function of this file."""
    return rate


def test_a_function_of_a_module_has_the_source_of_its_file():
    digest = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()
    named = sources.in_program(of_a_program)
    assert named == {"name": "of_a_program", "source": f"test_sources.py@{digest}"}
    assert sources.component(**named) is of_a_program


def test_a_function_of_the_program_itself_has_its_own_text_as_source(monkeypatch):
    monkeypatch.setattr(of_a_program, "__module__", "__main__")
    digest = hashlib.sha256(inspect.getsource(of_a_program).encode()).hexdigest()
    named = sources.in_program(of_a_program)
    assert named == {"name": "of_a_program", "source": f"__main__@{digest}"}
    assert sources.component(**named) is of_a_program
    sources._objects.clear()
    with pytest.raises(SourceError, match=r"is a function of a program .*; give it again, unchanged: pliant\.run"):
        sources.component(**named)


@pytest.mark.parametrize("thing", [lambda: 1, 3, {"name": 1}, print])
def test_a_component_without_a_text_is_refused(thing):
    with pytest.raises(SourceError, match="give the function that makes it, written with def"):
        sources.in_program(thing)
