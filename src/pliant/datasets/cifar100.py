"""CIFAR-100: 50,000 + 10,000 colour images of 100 kinds of things, 32 x 32 pixels.

The files are those of the authors' binary version: the archive as it is, or unpacked. The archive is read in memory, so
nothing of it is ever written. A download is verified by its SHA-256. An archive that the user puts there is not: it is
taken if its members, their sizes and the labels are right.

References:
    Krizhevsky, `Learning multiple layers of features from tiny images
    <https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf>`_, University of Toronto 2009.
"""

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from ._images import Images, checked
from ._sources import DataError, Remote, fetched, found, need

SYNTHETIC = {"classes": 100, "train": 60, "test": 10, "side": 32, "channels": 3}

_ARCHIVE = "cifar-100-binary.tar.gz"
_FILES = {
    _ARCHIVE: Remote(
        f"https://www.cs.toronto.edu/~kriz/{_ARCHIVE}",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    )
}
_FOLDER = "cifar-100-binary"  # in the archive
_MOST = {"train.bin": 50_000, "test.bin": 10_000}  # images
_RECORD = 2 + 3 * 32 * 32  # bytes of an image: its coarse label, its fine label, red, green, blue
_UNPACKED = 200_000_000  # bytes of the unpacked archive at most; the authors' one has about 184,450,000
_CLASSES = 100


def load() -> Images:
    """The data set from the cache, after a download if need be."""
    return read(fetched("cifar100", _FILES))


def read(folder: Path) -> Images:
    """The data set in a folder, or in a folder of it: `train.bin` and `test.bin`, or the archive that holds them.

    Raises:
        DataError: naming the file that is missing, damaged or of another kind.
    """
    plain = found(folder, ("train.bin",))
    if plain is not None:
        where = plain.parent
        parts = {"train.bin": _file(plain), "test.bin": _file(need(where, ("test.bin",)))}
    else:
        where = need(folder, (_ARCHIVE,))
        parts = _members(where)
    (train_x, train_y), (test_x, test_y) = parts["train.bin"], parts["test.bin"]
    return checked(Images(train_x, train_y, test_x, test_y, _CLASSES), where)


def write(folder: Path, images: Images) -> None:
    """Writes a data set as the archive, with the coarse label 0 for classes 0 to 4, 1 for 5 to 9, and so on."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as archive:
        for name, x, y in (("train.bin", images.train_x, images.train_y), ("test.bin", images.test_x, images.test_y)):
            labels = np.stack([y // 5, y], axis=1).astype(np.uint8)
            content = np.concatenate([labels, x.transpose(0, 3, 1, 2).reshape(len(x), -1)], axis=1).tobytes()
            member = tarfile.TarInfo(f"{_FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (folder / _ARCHIVE).write_bytes(gzip.compress(unpacked.getvalue(), compresslevel=1, mtime=0))


def _file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        return _records(file, path.stat().st_size, path, _MOST[path.name])


def _members(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images of the archive's two files."""
    try:
        # The whole archive is small: with this limit, no header and no member of a hostile one can be larger.
        with gzip.open(path) as file:
            content = file.read(_UNPACKED + 1)
        if len(content) > _UNPACKED:
            raise DataError(f"{path} holds more than {_UNPACKED:,} bytes; get it again")
        parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise DataError(f"{path}: its member {member.name!r} lies outside of {_FOLDER}; get it again")
                if not (member.isdir() or (member.isreg() and not member.issparse())):
                    raise DataError(f"{path}: its member {member.name!r} is a link or a device; get it again")
                if name.parent.name != _FOLDER or name.name not in _MOST:
                    continue  # the names of the labels
                if name.name in parts:
                    raise DataError(f"{path} holds {name.name} twice; get it again")
                part = archive.extractfile(member)
                assert part is not None  # of a regular file
                parts[name.name] = _records(part, member.size, f"{path}: {name.name}", _MOST[name.name])
    except DataError:
        raise
    except (EOFError, OSError, ValueError, tarfile.TarError, zlib.error) as error:  # ValueError: of damaged headers
        raise DataError(f"{path} is damaged ({error}); get it again") from error
    for name in _MOST:
        if name not in parts:
            raise DataError(f"{path} holds no {_FOLDER}/{name}; take the binary version, {_FILES[_ARCHIVE].url}")
    return parts


def _records(file: IO[bytes], size: int, where: object, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `(examples, 32, 32, 3)` and fine labels `(examples,)` of a file of this size, which has `most` at most."""
    if size == 0 or size % _RECORD:
        raise DataError(f"{where} has {size:,} bytes, which is no whole number of {_RECORD:,}; get it again")
    if size > most * _RECORD:
        raise DataError(f"{where} has {size // _RECORD:,} images, more than the {most:,} of CIFAR-100; get it again")
    records = np.frombuffer(file.read(size), np.uint8).reshape(-1, _RECORD)
    coarse, fine = records[:, 0], records[:, 1]
    if coarse.max() >= 20:
        raise DataError(f"{where}: a coarse label is {coarse.max()}, and they end at 19; take the files of CIFAR-100")
    x = records[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x), fine.astype(np.int32)
