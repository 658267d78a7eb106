from functools import partial

import numpy as np
import pytest

from redline.engine import forward
from redline.engine.forward import EagerForward, ReplayForward
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.models.files import write_directory
from tests.models.stepper import Stepper

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return load_weights(write_directory(tmp_path_factory.mktemp("m") / "m"), backend("cpu"), "float")


def test_a_decode_step_is_recorded_once_and_then_replayed(decoder):
    stepper = Stepper(decoder, 16, forward=partial(ReplayForward, max_tokens=6))
    stepper.step(TOKENS[:7])
    assert not stepper.forward._graphs
    stepper.step(TOKENS[7:8])
    (recorded,) = stepper.forward._graphs.values()
    calls = len(recorded.graph)
    logits = [stepper.step([token]).copy() for token in TOKENS[8:]]
    assert stepper.forward._graphs[1, 1, forward.LEAST_WIDTH] is recorded
    assert len(recorded.graph) == calls > decoder.spec.num_layers
    np.testing.assert_array_equal(np.concatenate(logits), Stepper(decoder, 16).logits(TOKENS, [7, 1])[8:])


def test_several_tokens_of_a_sequence_are_replayed_as_one(decoder):
    stepper = Stepper(decoder, 16, forward=ReplayForward)
    logits = [stepper.step(TOKENS[first : first + 4]).copy() for first in range(0, 16, 4)]
    assert list(stepper.forward._graphs) == [(4, 1, forward.LEAST_WIDTH)] and not stepper.forward.prepared
    np.testing.assert_array_equal(np.concatenate(logits), Stepper(decoder, 16).logits(TOKENS, [16]))


def test_graphs_share_one_arena(decoder):
    """A second graph needs no memory of its own beyond what the larger one takes."""
    stepper = Stepper(decoder, 256, block_size=1, forward=ReplayForward)
    stepper.step(TOKENS[:1])
    size = stepper.forward._arena.nbytes
    assert size > 0
    stepper.blocks_B = stepper.blocks_B[:128]
    stepper.step(TOKENS[1:2])
    assert len(stepper.forward._graphs) == 2
    assert stepper.forward._arena.nbytes == size


def test_grown_rotary_tables_void_the_graphs(decoder):
    stepper = Stepper(decoder, 16, forward=ReplayForward)
    stepper.step(TOKENS[:1])
    stepper.step(TOKENS[1:2])
    (before,) = stepper.forward._graphs.values()
    for rotary in decoder.rotaries:
        rotary.set_max_context(rotary.max_context)  # empties the tables
    stepper.step(TOKENS[2:3])
    (after,) = stepper.forward._graphs.values()
    assert after is not before


def test_tables_that_another_pass_moved_void_the_graphs_too(decoder):
    """A long prompt, which runs op by op, or a draft that runs ahead."""
    stepper = Stepper(decoder, 16, forward=ReplayForward)
    stepper.step(TOKENS[:1])
    (before,) = stepper.forward._graphs.values()
    for rotary in decoder.rotaries:
        rotary.set_max_context(rotary.max_context)
    Stepper(decoder, 16).step(TOKENS)
    stepper.step(TOKENS[1:2])
    (after,) = stepper.forward._graphs.values()
    assert after is not before


def test_the_least_recently_used_graph_goes(decoder, monkeypatch):
    monkeypatch.setattr(forward, "MAX_GRAPHS", 2)
    stepper = Stepper(decoder, 256, block_size=1, forward=ReplayForward)
    stepper.step(TOKENS[:1])
    for width in (128, 64, 32):
        stepper.blocks_B = stepper.blocks_B[:width]
        stepper.step([1])
    assert list(stepper.forward._graphs) == [(1, 1, 64), (1, 1, 32)]


def test_a_failed_recording_leaves_ops_as_they_were(decoder, monkeypatch):
    stepper = Stepper(decoder, 16, forward=ReplayForward)
    monkeypatch.setattr(type(decoder.blocks[-1]), "__call__", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stepper.step(TOKENS[:1])
    monkeypatch.undo()
    expected = Stepper(decoder, 16, forward=EagerForward).step(TOKENS[:1])
    np.testing.assert_array_equal(Stepper(decoder, 16, forward=ReplayForward).step(TOKENS[:1]), expected)
