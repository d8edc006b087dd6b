"""The devices of this process: sets JAX up for runs, and measures memory."""

import os
from pathlib import Path

import jax
import jaxlib

from .errors import ConfigError, echo

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container

GIB = 2**30

# XLA's convolutions by YNNPACK are half as fast on CPUs as those by Eigen. XLA ends the process for a flag that it does
# not know, so that only versions known to have the flag get it.
_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
_KNOW_THE_FLAG = ((0, 10), (0, 11), (0, 12))  # versions of jaxlib


def prepare() -> None:
    """Makes each core a device, chooses convolutions, and caches compiled programs on disk.

    The user's settings of JAX come first.

    Raises:
        ConfigError: if JAX has none of the platforms that the user set.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.config.jax_num_cpu_devices < 0 and "xla_force_host_platform_device_count" not in flags:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        jax.config.update("jax_num_cpu_devices", cores)
    os.environ["XLA_FLAGS"] = with_fast_convolutions(flags, jaxlib.version.__version_info__)
    # Small programs are called at each step of an environment: to pass them to another thread takes longer.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if jax.config.jax_compilation_cache_dir is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pliant" / "jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if jax.config.jax_platforms:
        try:
            jax.devices()
        except RuntimeError as error:
            reason = str(error).partition("(")[0].strip()
            raise ConfigError(f"JAX_PLATFORMS={echo(jax.config.jax_platforms)}: {reason}") from None


def with_fast_convolutions(flags: str, jaxlib_version: tuple[int, ...]) -> str:
    """The flags of XLA that choose Eigen's convolutions on CPUs, unless the user's flags choose others."""
    if jaxlib_version[:2] not in _KNOW_THE_FLAG or "ynn_fusion_type" in flags:
        return flags
    return f"{flags} {_CONVOLUTIONS}".strip()


def available_memory() -> int | None:
    """Bytes of memory that the devices of this process have together; `None` if unknown."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return _of_host()
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


def _of_host() -> int | None:
    """Bytes of memory of the machine, or the limit of the container."""
    try:
        sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # not on this system
        return None
    for file in _LIMITS:
        try:
            sizes.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no such file, or no limit: "max"
            continue
    return min(sizes)
