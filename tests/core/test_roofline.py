"""The least time of a step: memory bounds few tokens, arithmetic many."""

import pytest

from redline.core.roofline import Roofline

ROOFLINE = Roofline(
    read_bytes_s=1e9,
    macs_s=1e10,
    weight_bytes=10**8,
    kv_bytes=1000,
    layer_macs=10**8,
    output_macs=10**7,
    attention_macs=100,
)


def test_a_decode_waits_for_memory():
    assert ROOFLINE.step_s(1, 0, 0) == pytest.approx(0.1)
    assert ROOFLINE.step_s(1, 0, 50_000) == pytest.approx(0.15)


def test_a_prompt_waits_for_arithmetic():
    assert ROOFLINE.step_s(0, 100, 0) == pytest.approx((100 * 10**8 + 10**7) / 1e10)
    both = ROOFLINE.step_s(20, 100, 50_000)
    assert both == pytest.approx((120 * 10**8 + 20 * 10**7 + 50_000 * 100) / 1e10)
