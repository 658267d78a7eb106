"""The machine's ceilings: the kernels behind them do what is asked, and all of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from redline import _kernels
from redline.bench.ceiling import KINDS, Ceiling, multiply_adds, read_bandwidth
from redline.errors import ConfigError


@pytest.fixture(params=["scalar", "avx2", "avx512", "amx"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    if not _kernels.select_isa(request.param):
        pytest.skip(f"this machine lacks {request.param}")
    yield request.param
    _kernels.select_isa("auto")


@pytest.mark.parametrize("streams", [1, 2, 4])
@pytest.mark.parametrize("ahead", [0, 2048])
def test_every_byte_is_read(isa: str, streams: int, ahead: int) -> None:
    size = (1 << 18) + 12345  # two whole pieces, and one whose end fills no line
    positions = [0, 63, 64, 131071, 131072, size - 1, *np.random.default_rng(0).integers(0, size, 30)]
    buffer = np.zeros(size, np.uint8)
    assert _kernels.peak_read(buffer, streams, ahead) == 0
    for at in positions:
        buffer[at] = 1 << (at % 8)
        assert _kernels.peak_read(buffer, streams, ahead) == 1 << (at % 8), at
        buffer[at] = 0


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_multiply_adds_are_done_as_asked_for(isa: str, kind: str) -> None:
    few, many = (_kernels.peak_macs(KINDS[kind], wanted) for wanted in (1 << 22, 1 << 24))
    if kind.endswith("tiles") and isa != "amx":
        assert few == many == 0
        assert multiply_adds(1, kind) is None
        return
    assert few == pytest.approx(1 << 22, rel=0.05) and many == pytest.approx(1 << 24, rel=0.05)


def test_an_unknown_kind_does_nothing(isa: str) -> None:
    assert _kernels.peak_macs(9, 1 << 20) == 0


def test_rates_are_the_work_over_the_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.5, *[0.2] * 100])
    monkeypatch.setattr("redline.bench.ceiling._seconds", lambda work: next(seconds))
    assert read_bandwidth(1, num_bytes=1000) == 1000 / 0.2
    assert multiply_adds(1, "f32") == pytest.approx((1 << 22) / 0.2, rel=0.05)


def test_a_ceiling_has_positive_rates_and_leaves_the_instruction_set_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("redline.bench.ceiling.BUFFER_BYTES", 1 << 22)
    before = _kernels.isa()
    ceiling = Ceiling.measure(1, "scalar", 1 << 20)
    assert _kernels.isa() == before and ceiling.isa == "scalar"
    assert ceiling.read_bytes > 0 and ceiling.memory_read_bytes > 0
    assert set(ceiling.macs) == {"f32", "int8"} and min(ceiling.macs.values()) > 0
    assert ceiling.int8_macs == ceiling.macs["int8"] and ceiling.float_macs == ceiling.macs["f32"]
    with pytest.raises(ConfigError, match="lacks the instruction set riscv"):
        Ceiling.measure(1, "riscv", 1 << 20)
