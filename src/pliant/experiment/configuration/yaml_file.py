"""Reads YAML that somebody wrote: plain data of moderate size, in which each key stands once."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pliant.experiment.errors import ConfigError, echo

_LARGEST = 1_000_000  # bytes of a file
_MOST = 100_000  # values, those of an alias wherever it stands


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        OSError: if it cannot be read.
        ConfigError: if it is a device, a pipe or the like, larger than a megabyte, or no text.
    """
    if file.exists() and not file.is_file():
        raise ConfigError("not a file; write the path of a configuration file")
    with open(file, "rb") as opened:
        content = opened.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ConfigError(f"more than {_LARGEST:,} bytes: this is no configuration file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"not text in UTF-8: {error.reason} at byte {error.start}") from None


def parse(text: str) -> Any:
    """The plain data in a text.

    Raises:
        ConfigError: if it is not YAML, has a key twice, is nested too deeply or too large.
    """
    try:
        given = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"this is not YAML: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise ConfigError("this is nested too deeply for a configuration") from None
    except ConfigError:
        raise
    except (ValueError, TypeError, AttributeError) as error:  # such as a date of the 50th day, or a key that is a list
        raise ConfigError(f"this is not YAML: {echo(error)}") from None
    left, count = [given], 0
    while left:
        value = left.pop()
        count += 1
        if count > _MOST:
            raise ConfigError(f"this has more than {_MOST:,} values: it is no configuration")
        left.extend([*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ())
    return given


class _Loader(yaml.SafeLoader):
    """Refuses a mapping in which a key stands twice; the last one would win without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Makes the mapping of a node."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ConfigError(f"{echo(twice)} stands there twice; write it once")
        return super().construct_mapping(node, deep)
