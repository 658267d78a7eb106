import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.naive import naive
from redline.ops.registry import backend
from tests.ops.test_attention import CASES, Case, float64, make

NAMES = [
    "gqa3",
    "mqa9",
    "odd-dim",
    "window",
    "window-and-cap",
    "batch",
    "int8",
    "bf16",
    "fp8",
    "int4",
    "block-7",
]


@pytest.mark.parametrize("name", ["cpu", "reference"])
@pytest.mark.parametrize("case", [CASES[name] for name in NAMES], ids=NAMES)
def test_equals_float64(name, case, rng):
    data = make(case, rng)
    got = np.concatenate(data.prefill(naive(backend(name))))
    np.testing.assert_allclose(got, float64(data), rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("rows", [(10, 20), (69, 70)])
def test_queries_are_the_last_tokens_of_their_context(rows, rng):
    data = make(Case(contexts=(70,), dim=16, kv_format="f32"), rng)
    ops = naive(backend("cpu"))
    [whole], [part] = data.prefill(ops), data.attend(ops, [rows])
    np.testing.assert_allclose(part, whole[slice(*rows)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("context, block", [(71, 0), (0, 0), (70, 99), (70, -1)])
def test_what_does_not_fit_is_refused(context, block, rng):
    data = make(Case(contexts=(70,), block_size=70, dim=16), rng)
    data.tables[0, 0] = block
    starts, lens = np.array([0, 1], np.int32), np.array([context], np.int32)
    with pytest.raises(KernelError, match="sequence 0 has query rows 0:1"):
        data.call(backend("cpu").naive_attention, data.q[0][:1], starts, lens)
