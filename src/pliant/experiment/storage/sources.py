"""Copies of the files with the user's own components: `RUN/sources/<digest>/<file>.py`.

Nobody executes a copy on its own: the user names it, as after an edit of the file, by `--source`.
"""

from pathlib import Path

from pliant.core.sources import text_of
from pliant.experiment.configuration.config import RunConfig

from .files import write_atomically


def keep_sources(run: Path, config: RunConfig) -> None:
    """Copies the files into the run's directory; a copy that is there stays."""
    for source in {component.source for component in config.components().values()}:
        name, _, digest = source.partition("@")
        file, text = run / "sources" / digest[:8] / name, text_of(source)
        if text is not None and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, text)
