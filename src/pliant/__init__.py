"""pliant keeps neural networks able to learn: plasticity for any JAX network and any optax loop.

The public names are listed in `__init__.pyi`. Each is imported when it is first used, so that `import pliant` takes no
time, and the library does not need the packages of the suite.
"""

from typing import Any

import lazy_loader

_imported, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _imported(name)
    except ModuleNotFoundError as error:
        if name not in ("Run", "TrainedAgent", "load", "run", "stream_of"):
            raise
        raise ModuleNotFoundError(
            f"pliant.{name} is part of the suite, which needs {error.name}: pip install -e '.[suite]'", name=error.name
        ) from error
