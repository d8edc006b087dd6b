"""The user's own components: functions and modules of files that the user names, and of the user's program.

A configuration has the source of such a component, `my_methods.py@<SHA-256>`. The file must be executed to find the
component. So a file is executed only if the user named it in this process, on the command line or in a call. A
configuration file from elsewhere cannot name one.
"""

import functools
import hashlib
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>[^/\\:]*))?")
_PROGRAM = "__main__"  # the module of a script, or of a notebook

_files: dict[str, tuple[Path, bytes]] = {}  # source -> file that the user named, and its text
_objects: dict[tuple[str, str], Any] = {}  # (source, name) -> object that the user gave


class SourceError(ValueError):
    """A file or an object that cannot be used as a component."""


def names_file(text: Any) -> bool:
    """Whether a text is `FILE.py` or `FILE.py:NAME`."""
    return isinstance(text, str) and _FILE.fullmatch(text) is not None


def add_file(file: str | Path) -> str:
    """Allows components of a file that the user named; does not execute it.

    Returns:
        The source: the file's name and digest.

    Raises:
        SourceError: if the file cannot be read.
    """
    path = Path(file)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror}") from None
    source = f"{path.name}@{hashlib.sha256(text).hexdigest()}"
    _files[source] = (path, text)
    return source


def text_of(source: str) -> bytes | None:
    """The text of a file that the user named; `None` for a function of a program."""
    return _files[source][1] if source in _files else None


def in_file(text: str) -> dict[str, str]:
    """The name and the source of `FILE.py:NAME`; of `FILE.py` the name is the file's without its ending.

    Raises:
        SourceError: if the file cannot be read, or the name is none of Python.
    """
    match = _FILE.fullmatch(text)
    if match is None:
        raise SourceError(f"{text}: write FILE.py or FILE.py:NAME")
    file, name = match["file"], match["name"]
    name = Path(file).stem if name is None else name
    if not name.partition("@")[0].isidentifier():
        raise SourceError(f"{text}: {name!r} is not a name of Python; write {file}:NAME")
    return {"name": name, "source": add_file(file)}


def in_program(component: Any) -> dict[str, str]:
    """The name and the source of a function or a module of this process.

    The source of a module, and of a function in a module, is the file. A function of the program itself, a script or a
    notebook, has its own text as source, because the program changes from call to call.

    Raises:
        SourceError: if it is neither a module nor a function, or if its text cannot be found.
    """
    if inspect.ismodule(component):
        module, name = component, component.__name__.rpartition(".")[2]
    elif inspect.isfunction(component) and component.__name__.isidentifier():
        module, name = sys.modules.get(component.__module__), component.__name__
    else:
        raise SourceError(
            f"{type(component).__name__} {str(component)[:60]}: give the function that makes it, written with def, so "
            "that its text is part of the run's name"
        )
    file = getattr(module, "__file__", None)
    if file is not None and getattr(module, "__name__", _PROGRAM) != _PROGRAM:
        source = add_file(file)
    else:
        try:
            text = inspect.getsource(component)
        except (OSError, TypeError):
            raise SourceError(f"{name} has no text that can be found; write it into a file") from None
        source = f"{_PROGRAM}@{hashlib.sha256(text.encode()).hexdigest()}"
    _objects[source, name] = component
    return {"name": name, "source": source}


def component(name: str, source: str, *, may_be_module: bool = False) -> Any:
    """The function or the module that a configuration names.

    Args:
        name: of the function, or of the file without its ending for the module.
        source: as `in_file` and `in_program` return it.
        may_be_module: whether the component can be a module, as a problem and an agent can.

    Raises:
        SourceError: if the user did not name the file, if it raises an error, or lacks the name.
    """
    if (source, name) in _objects:
        return _objects[source, name]
    module = _module(source)
    found = getattr(module, name, None)
    if callable(found) or (may_be_module and inspect.ismodule(found)):
        return found
    if may_be_module and name == Path(source.partition("@")[0]).stem:
        return module
    here = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    there_are = ", ".join(key for key in here if not key.startswith("_")) or "no functions"
    what = f"function {name!r}" if hasattr(module, name) else repr(name)
    raise SourceError(f"{_files[source][0]} has no {what}; there are: {there_are}")


def _module(source: str) -> types.ModuleType:
    if source in _files:
        return _executed(source)
    file, _, digest = source.partition("@")
    if file == _PROGRAM:
        raise SourceError(
            f"a component of this run is a function of a program (SHA-256 {digest[:8]}); give it again, unchanged: "
            "pliant.run(...) in that program, or pliant.load(RUN, own=[my_function])"
        )
    changed = next((path for path, _ in _files.values() if path.name == file), None)
    if changed is not None:
        raise SourceError(
            f"{changed} has changed: the run used it as SHA-256 {digest[:8]}; name the file as it was then, of which "
            f"the run has a copy in RUN/sources/{digest[:8]}/, or begin a new run: pliant run ... {changed}"
        )
    raise SourceError(
        f"a component of this run is in {file} (SHA-256 {digest[:8]}), which is executed only if you name it: write "
        f"--source PATH/{file}, or pliant.load(RUN, own=['PATH/{file}']) in Python"
    )


@functools.cache
def _executed(source: str) -> types.ModuleType:
    """The module of a file, executed once."""
    path, text = _files[source]
    module = types.ModuleType(f"{path.stem}_{source.partition('@')[2][:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses, annotations and `inspect` look there
    try:
        exec(compile(text, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise SourceError(f"{path}{_line_of(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _line_of(error: BaseException, path: Path) -> str:
    """Where in the file an error arose: `, line 3`."""
    trace, line = error.__traceback__, getattr(error, "lineno", None)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f", line {line}"
