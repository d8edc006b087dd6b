"""Loads a data set by its name, from a folder, or made up."""

import functools
import importlib
import tempfile
from pathlib import Path

from ._images import Images
from ._sources import DataError, folder_of
from ._synthetic import made_up

SYNTHETIC = "synthetic"


def names() -> list[str]:
    """The names of the data sets, in alphabetical order."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


@functools.lru_cache(maxsize=4)
def load_images(name: str, data: str = "") -> Images:
    """The images of a data set.

    Args:
        name: the data set, whose format the files have.
        data: where from. Empty or a name: that data set, from where the system keeps it, from the cache, or downloaded;
            `synthetic`: a small made-up data set, written and read in the same format; else a folder.

    Raises:
        DataError: in one line, naming the file, if the data are missing, damaged, or of another kind.

    Example:
        >>> load_images("mnist", "digits").train_x.shape
        (1500, 8, 8, 1)
    """
    if data in ("", *names()):
        return _module(data or name).load()
    module = _module(name)
    if not hasattr(module, "read"):
        raise DataError(f"data={data}: {name} is in the package, and has no other files; write data={name}")
    if data != SYNTHETIC:
        return module.read(folder_of(data))
    with tempfile.TemporaryDirectory(prefix="pliant-") as folder:
        module.write(Path(folder), made_up(**module.SYNTHETIC))
        return module.read(Path(folder))


def _module(name: str):
    return importlib.import_module(f"pliant.datasets.{name}")
