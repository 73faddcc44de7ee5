"""Keeps what a step frees for the next step, and has it lie on large pages.

glibc hands blocks of the size of a feature map back to the kernel when they are freed, and the next step has them
cleared and mapped anew, page by page: a sixth of the time of a small convolutional student on a CPU. Large pages
(mallopt(3), madvise(2)) spare the processor most of the search for where each page of 4 KiB lies.
"""

import ctypes
from typing import Any

#: Of mallopt(3): from what size on free memory at the end of the heap is given back, and a block is mapped for itself.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER, _BYTES = 2**31 - 1, 2**30
#: Of madvise(2), and the size of such a page.
_MADV_HUGEPAGE, _PAGE_BYTES = 14, 2**21


def keep_freed() -> None:
    """From now on, in this process. The most that is held stays the same. Of other C libraries nothing is asked."""
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    # Both or none: once one is set, glibc no longer raises the other by itself. Older ones refuse so large a block.
    if mallopt is not None and mallopt(_M_MMAP_THRESHOLD, _BYTES):
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        _take_large_pages(libc)


def _take_large_pages(libc: Any) -> None:
    """Marks the heap that is to come; no memory is taken before it is used, and a kernel without such pages says no."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = _BYTES - _PAGE_BYTES
    start = libc.malloc(size)
    if start is not None:
        first = -(-start // _PAGE_BYTES) * _PAGE_BYTES
        libc.madvise(first, (start + size - first) // _PAGE_BYTES * _PAGE_BYTES, _MADV_HUGEPAGE)
        libc.free(start)
