"""Writes files atomically, and reads and checks them."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_json(file: Path, types: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The mapping in a JSON file; empty if the file is missing or damaged.

    Args:
        file: the file.
        types: of values, by name; a file with a value of another type is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    known = {name: kind for name, kind in (types or {}).items() if name in content}
    return content if all(isinstance(content[name], kind) for name, kind in known.items()) else {}


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_atomically(file: Path, data: bytes) -> None:
    """Writes a file atomically: it is there whole or not at all, also after a loss of power."""
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        with open(unfinished, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    sync(file.parent)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are safe from a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
