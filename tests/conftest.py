"""What all tests share: a CPU with two devices, a cache of compiled programs, and a strict JAX."""

import gc
import importlib.metadata
import logging
import os
import pathlib
import signal
import sys
import types
from collections.abc import Iterator

# Environment variables, so that the programs that a test starts have them too. JAX reads them when it is imported.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests do little else than compile: what is compiled is not made fast, which takes half as long.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
# And it is compiled in one piece: in parallel takes longer where each core has its worker.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_parallel_codegen_split_count=1",
        # A flag that newer versions do not know, and that they end at.
        "--xla_cpu_use_fusion_emitters=false" if importlib.metadata.version("jaxlib").startswith("0.10.") else "",
    ]
)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# A few made-up images in the place of downloads, so that the presets of problems with images can be made.
os.environ["PLIANT_DATA"] = str(pathlib.Path(__file__).with_name("data"))

import compilations
import jax
import jaxtyping
import pytest
import trees

# What the signatures of these rooms say of types and shapes is checked at each call; before pliant is imported.
jaxtyping.install_import_hook(["pliant.core", "pliant.surgery", "pliant.tracing"], "checking.checked")

jax.config.update("jax_num_cpu_devices", 2)  # so that sharding is tested on any machine
jax.config.update("jax_numpy_rank_promotion", "raise")


# The source distribution has no recorded trajectories.
if not pathlib.Path(__file__).with_name("golden").is_dir():
    collect_ignore_glob = ["*/test_*_golden.py", "diagnostics/test_ranks.py"]


def pytest_configure(config: pytest.Config) -> None:
    # Tests send these signals; under nohup, or in the background of a shell, they would be ignored, also by children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.pluginmanager.register(compilations.Compilations(), "compilations")


def pytest_collection_finish() -> None:
    # Tracing makes many small objects: a twentieth of the time went into looking for garbage among them, and among what
    # is imported, which stays to the end.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def fresh_logging():
    """The command line makes the package's messages go to the console: no test finds what an earlier one did so."""
    logger = logging.getLogger("pliant")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Lets a test call functions with what their signatures forbid: to see how they refuse it themselves."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def key() -> jax.Array:
    """A typed PRNG key; the test that receives it consumes it."""
    return trees.key(0)


@pytest.fixture(scope="module")
def toy_parts():
    """Lets configurations find the problems `drift`, on the device, and `drift_host`, outside of it, and an agent."""
    import toys  # after the environment variables

    with pytest.MonkeyPatch.context() as patch:
        toys.add_all(patch)
        yield


@pytest.fixture
def mp4_written(monkeypatch):
    """What the writer of MP4 files is given: how it is opened, and then the frames; no file is written."""
    written = []

    def write_frames(file, size, fps):
        written.append((file, size, fps))
        while True:
            written.append((yield))

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", types.SimpleNamespace(write_frames=write_frames))
    return written
