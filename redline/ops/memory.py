"""Memory that arrays give back: kept for the next arrays, where the C library can (glibc)."""

from __future__ import annotations

from redline.ops.registry import why_not


def return_freed_memory() -> None:
    """Give memory that was freed so far back to the system, where the C library can (glibc)."""
    if why_not("cpu") is None:
        from redline import _kernels

        _kernels.return_freed_memory()


def keep_freed_memory() -> bool:
    """Keep freed memory (up to 256 MiB) in this process from now on; False where that cannot be set.

    The activations of a prefill are megabytes each and live for one op. Returned to the system, they cost a
    page fault per 4 KiB when the next op asks for as much: on SmolLM2, 4.8 ms per layer for 512 tokens, five
    times the work of the element-wise ops. A program's choice, hence not made on import.
    """
    if why_not("cpu") is not None:
        return False
    from redline import _kernels

    return bool(_kernels.keep_freed_memory())
