"""How much memory there is."""

import os
from pathlib import Path

import jax

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container

GIB = 2**30


def memory() -> int | None:
    """Bytes of memory that the devices of this process have together; `None` if nothing tells."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return _of_host()
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


def _of_host() -> int | None:
    """That of the machine, or what a container may have of it."""
    try:
        sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # no such thing on this system
        return None
    for file in _LIMITS:
        try:
            sizes.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no such file, or no limit: "max"
            continue
    return min(sizes)
