"""Every backend and instruction set that runs here, as pytest parameters."""

import pytest

from redline import _kernels
from redline.ops.registry import backend


class OnISA:
    """The CPU backend held to one instruction set during each call."""

    def __init__(self, isa):
        self.isa = isa

    def __getattr__(self, name):
        function = getattr(backend("cpu"), name)

        def call(*args, **kwargs):
            assert _kernels.select_isa(self.isa)
            try:
                return function(*args, **kwargs)
            finally:
                _kernels.select_isa("auto")

        return call


def _isa_params():
    for isa in ("scalar", "avx2", "avx512", "amx"):
        supported = _kernels.select_isa(isa)
        _kernels.select_isa("auto")
        skip = pytest.mark.skip(reason=f"this machine or build has no {isa}")
        yield pytest.param(OnISA(isa), id=f"cpu-{isa}", marks=() if supported else skip)


KERNELS = list(_isa_params())
BACKENDS = [*KERNELS, pytest.param(backend("reference"), id="reference")]
