"""Where the files of a data set are: a folder, a place of the system, or the cache of downloads.

Downloads are verified by their SHA-256, and nothing is ever unpickled. The cache is the folder `pliant` in the user's
folder for caches; the environment variable `PLIANT_DATA` names another.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class DataError(ValueError):
    """Data that are missing, damaged, or of another kind; one line that names the file and what to do."""


class Remote(NamedTuple):
    """A file that can be downloaded."""

    url: str
    sha256: str


def cache() -> Path:
    """The folder of downloads."""
    given = os.environ.get("PLIANT_DATA")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pliant" / "data"


def folder_of(data: str) -> Path:
    """The folder that a user names.

    Raises:
        DataError: if it is not there, or not a folder.
    """
    folder = Path(data).expanduser()
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"data={data}: {kind}; write the name of a data set, synthetic, or a folder with its files")
    return folder


def found(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of some files that a folder, or a folder in it, has."""
    for name in names:
        for path in (folder / name, *sorted(folder.glob(f"*/{name}"))):
            if path.is_file():
                return path
    return None


def need(folder: Path, names: Sequence[str]) -> Path:
    """As `found`.

    Raises:
        DataError: naming the file, if there is none.
    """
    path = found(folder, names)
    if path is None:
        raise DataError(
            f"{folder / names[0]} is missing; put the file there, or name the folder that has it: --data DIR"
        )
    return path


def fetched(name: str, files: Mapping[str, Remote], places: Sequence[Path] = (), about: str = "") -> Path:
    """A folder with the files of a data set: one of the system's, or the cache, after downloads if need be.

    Args:
        name: of the data set.
        files: by name, each with its address.
        places: folders in which a package of the system puts the files.
        about: how else to get the files, for the error.

    Raises:
        DataError: naming the first missing file, where to get it and where to put it; or a wrong checksum.
    """
    for place in places:
        if all((place / file).is_file() for file in files):
            return place
    folder = cache() / name
    for file, remote in files.items():
        if not (folder / file).is_file():
            _download(folder, file, remote, about)
    return folder


def _download(folder: Path, file: str, remote: Remote, about: str) -> None:
    import pooch
    import requests

    logger = pooch.get_logger()
    level, logger_level = logger.level, "ERROR"
    logger.setLevel(logger_level)
    try:
        pooch.retrieve(remote.url, f"sha256:{remote.sha256}", file, folder)
    except (requests.RequestException, OSError) as error:
        raise DataError(
            f"{folder / file} is missing, and {remote.url} cannot be downloaded ({type(error).__name__}); "
            f"put the file there{', ' + about if about else ''}, or name the folder that has it: --data DIR"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{remote.url} has another SHA-256 than {remote.sha256[:12]}...; nothing was kept; try again later, or get "
            f"{file} elsewhere and name its folder: --data DIR"
        ) from error
    finally:
        logger.setLevel(level)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
