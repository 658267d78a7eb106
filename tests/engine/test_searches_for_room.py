"""Beam searches that together want more memory than there is: each waits for its own, none forever."""

import random

import pytest

from redline import SamplingParams
from redline.engine.request import RequestOptions
from redline.errors import CapacityError, RequestError
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.engine.tiny_engine import TinyEngine
from tests.models import checkpoints

pytestmark = pytest.mark.oracle

VOCAB = checkpoints.SHAPE["vocab_size"]
MOST_STEPS = 900


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    path = checkpoints.save_directory("llama", tmp_path_factory.mktemp("model") / "llama")
    return load_weights(path, backend("cpu"), "float")


def params(dice):
    if dice.random() < 0.7:
        width = dice.choice([2, 3, 4])
        length = dice.randrange(4, 16)
        return SamplingParams(use_beam_search=True, best_of=width, n=width, max_tokens=length)
    return SamplingParams(n=dice.choice([1, 2]), max_tokens=10, seed=1)


def arrive(tiny, dice, arrival_s, priorities):
    prompt = [dice.randrange(VOCAB) for _ in range(dice.choice([1, 2, 20, 24]))]
    options = RequestOptions(
        arrival_s=arrival_s,
        priority=dice.choice(priorities),
        tenant=dice.choice("ab"),
        deadline_s=dice.choice([None, 1.0, 5.0]),
    )
    try:
        tiny.add(prompt, params(dice), options)
    except (CapacityError, RequestError) as error:
        assert "K/V cache" in str(error)


@pytest.mark.parametrize(
    "order, gap_s", [("fcfs", 0.0), ("longest_prefix", 0.0), ("priority", 0.0), ("deadline", 1e-4)]
)
def test_nobody_waits_forever(decoder, order, gap_s):
    """Requests that come at once, or overtake each other: half of a search must not keep what others need."""
    for seed in range(40):
        dice = random.Random(seed)
        tiny = TinyEngine(
            decoder,
            dice.choice([16, 20, 24, 28, 36]),
            order=order,
            max_batch=dice.choice([6, 8, 12]),
            prefix_cache=dice.random() < 0.9,
            chunked_prefill=dice.choice([None, 16, 32]),
        )
        arrivals = [number * gap_s for number in range(8)]
        for _ in range(MOST_STEPS):
            if arrivals and dice.random() < 0.3:
                arrive(tiny, dice, arrivals.pop(0), [0, 0, 1] if order in ("priority", "fcfs") else [0])
            tiny.step()
            if not arrivals and not tiny.engine.has_work:
                break
        assert not tiny.engine.has_work, f"{seed = }: {tiny.engine.scheduler.num_running = }"
        assert not tiny.num_used
