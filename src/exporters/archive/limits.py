"""A bound on memory while a file from elsewhere is decoded: a few kilobytes of Parquet can decompress to terabytes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow

MORE_BYTES = 3 << 30
"""Address space; threads reserve more than one gigabyte of it."""


@contextmanager
def memory_limit(more_bytes: int = MORE_BYTES) -> Iterator[None]:
    """A context in which the process gets at most ``more_bytes`` of memory; then allocations fail with `MemoryError`.

    Without effect on systems without ``/proc``.
    """
    size = Path("/proc/self/statm")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if not size.exists():
        yield
        return
    allowed = int(size.read_text().split()[0]) * resource.getpagesize() + more_bytes
    bounds = [allowed, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)]
    pool = pyarrow.default_memory_pool()
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # the others reserve gigabytes, and fail at once
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        pyarrow.set_memory_pool(pool)
