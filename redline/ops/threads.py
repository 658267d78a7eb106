"""How many threads the compiled kernels use. One pool serves the whole process."""

from __future__ import annotations

from redline.errors import ConfigError
from redline.ops.registry import why_not


def set_num_threads(count: int) -> None:
    """Use `count` threads, the calling one included, from the next op on. Waits for one that is running.

    Raises ConfigError when it is less than 1, or the system has not so many.
    """
    if count < 1:
        raise ConfigError(f"threads is {count}; it must be at least 1")
    if why_not("cpu") is None:
        from redline import _kernels

        try:
            _kernels.set_num_threads(count)
        except RuntimeError as error:
            raise ConfigError(
                f"threads is {count}, but the system starts no more ({error}); lower it"
            ) from None
