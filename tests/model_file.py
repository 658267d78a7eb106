"""The real model that tests run on; fetched once into the cache if it is not there."""

from functools import cache

from redline.models.pull import pull


@cache
def smollm2():
    """Path of SmolLM2-135M-Instruct's GGUF file."""
    return pull("smollm2")
