"""Layers with a window give back what lies behind it, and no bit of any answer changes."""

import numpy as np
import pytest

from redline.cache.paged import PagedKV
from redline.config.engine import EngineConfig
from redline.config.sampling import SamplingParams
from redline.core.sequence import Sequence
from redline.engine.forward import EagerForward, ReplayForward
from redline.engine.prepare import prepare
from redline.engine.scheduling import build_scheduler
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.models import checkpoints
from tests.models.stepper import Stepper

pytestmark = pytest.mark.oracle

WINDOW, BLOCK_SIZE, NUM_OUTPUTS = 5, 4, 20  # of every case that has windows
PROMPTS = [
    np.random.default_rng(seed % 4).integers(0, checkpoints.SHAPE["vocab_size"], 10 + seed).tolist()
    for seed in range(24)
]


@pytest.fixture(scope="module", params=["gemma2", "gemma3", "mistral"])
def decoder(request, tmp_path_factory):
    path = checkpoints.save_directory(request.param, tmp_path_factory.mktemp("model") / request.param)
    return load_weights(path, backend("cpu"), "int8")


def greedy(decoder, num_blocks, forward, **options):
    """What each prompt is answered, and the most blocks of each group that were in use at once."""
    config = EngineConfig(model="m", block_size=BLOCK_SIZE, **options)
    spec = decoder.spec
    scheduler = build_scheduler(config, spec.windows, num_blocks, max_context=64)
    kv = PagedKV(spec.group_of_layer, num_blocks, BLOCK_SIZE, spec.num_kv_heads, spec.head_dim, "f32")
    run = forward(decoder, kv)
    params = SamplingParams(max_tokens=NUM_OUTPUTS)
    seqs = [Sequence(index, prompt, params, float(index)) for index, prompt in enumerate(PROMPTS)]
    for seq in seqs:
        scheduler.add(seq)
    most = [0] * len(num_blocks)
    while scheduler.has_work:
        plan = scheduler.schedule()
        kv.copy(plan.copies)
        logits_RV = run(prepare(plan, BLOCK_SIZE, kv.num_groups))
        sampling = [item.seq.seq_id for item in plan.items if item.samples]
        scheduler.update(plan, dict(zip(sampling, logits_RV.argmax(-1).tolist(), strict=True)))
        most = [max(*pair) for pair in zip(most, used(scheduler), strict=True)]
        for seq in seqs:
            if seq.status.value == "running" and len(seq.output_token_ids) == NUM_OUTPUTS:
                scheduler.finish(seq.seq_id, "length")
        scheduler.check_integrity()
    return [seq.output_token_ids for seq in seqs], most


def used(scheduler):
    return [pool.num_blocks - pool.num_available for pool in scheduler.pools]


@pytest.fixture(scope="module")
def alone(decoder):
    answers = []
    for prompt in PROMPTS:
        stepper, tokens = Stepper(decoder, 64), []
        logits = stepper.step(prompt, [len(prompt) - 1])
        while True:
            tokens.append(int(logits[-1].argmax()))
            if len(tokens) == NUM_OUTPUTS:
                break
            logits = stepper.step(tokens[-1:])
        answers.append(tokens)
    return answers


@pytest.mark.parametrize("forward", [EagerForward, ReplayForward])
@pytest.mark.parametrize(
    "options, num_blocks",
    [
        ({"max_batch": 1}, 64),
        ({"max_batch": 8, "prefix_cache": False}, 128),
        ({"max_batch": 8, "chunked_prefill": 12}, 128),
        ({"max_batch": 8, "chunked_prefill": 7}, 20),  # preempts and evicts
    ],
)
def test_answers_are_those_of_sequences_that_keep_everything(decoder, alone, forward, options, num_blocks):
    answers, _ = greedy(decoder, [num_blocks] * len(decoder.spec.windows), forward, **options)
    assert answers == alone


def test_a_window_holds_only_so_many_blocks(decoder):
    chunk, batch = 8, 4
    options = {"max_batch": batch, "chunked_prefill": chunk, "prefix_cache": False}
    _, most = greedy(decoder, [128] * len(decoder.spec.windows), EagerForward, **options)
    per_sequence = -(-(WINDOW + chunk) // BLOCK_SIZE) + 1
    assert most[-1] <= batch * per_sequence
    if len(most) > 1:
        assert most[0] > 2 * most[-1], "layers that see everything hold it all"
