"""Every family against transformers in float32, from both file formats, on both backends."""

import numpy as np
import pytest

from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.models import checkpoints
from tests.models.stepper import Stepper

pytestmark = pytest.mark.oracle

TOKENS = np.random.default_rng(3).integers(0, checkpoints.SHAPE["vocab_size"], 41).tolist()
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Paths of the checkpoints, each written once."""
    made = {}

    def path(name, form):
        if (name, form) not in made:
            target = tmp_path_factory.mktemp("model") / (name if form == "safetensors" else f"{name}.gguf")
            save = checkpoints.save_directory if form == "safetensors" else checkpoints.save_gguf
            made[name, form] = save(name, target)
        return made[name, form]

    return path


FORMS = [
    pytest.param(name, form, id=f"{name}-{form}")
    for name, case in checkpoints.CASES.items()
    for form in ("safetensors", "gguf")
    if form == "safetensors" or case.gguf
]


@pytest.mark.parametrize("ops", ["cpu", "reference"])
@pytest.mark.parametrize("name, form", FORMS)
def test_logits_equal_transformers(saved, name, form, ops):
    decoder = load_weights(saved(name, form), backend(ops), "float")
    expected = checkpoints.logits(name, TOKENS)
    assert np.ptp(expected) > 1
    for chunks in ([len(TOKENS)], [13, 1, 1, 9, 1]):
        got = Stepper(decoder, len(TOKENS)).logits(TOKENS, chunks)
        np.testing.assert_allclose(got, expected, atol=TOLERANCE)
