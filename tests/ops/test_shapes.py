"""The backend of shapes against the compiled ops, and its two memories."""

import sys
import weakref

import pytest

from redline.engine import activations, forward
from redline.models.gguf_file import GGUFFile
from redline.models.load_weights import load_weights
from redline.models.sized_weights import size_model
from redline.ops import recording
from redline.ops.heap_memory import MAPPED_BYTES, HeapMemory
from redline.ops.registry import backend
from redline.ops.shapes import ArenaMemory, shapes
from redline.ops.unfused import unfused
from tests.model_file import smollm2
from tests.models.files import write_directory
from tests.models.stepper import Stepper


def as_it_is(ops):
    return ops


class Live:
    """Counts the bytes of arrays that are alive at once, real ones or those of shapes(); no holes."""

    def __init__(self):
        self.taken, self.peak_bytes = {}, 0

    def take(self, num_bytes):
        place = len(self.taken)
        self.taken[place] = num_bytes
        self.peak_bytes = max(self.peak_bytes, sum(self.taken.values()))
        return place

    def give_back(self, place):
        self.taken[place] = 0

    def watch(self, monkeypatch):
        """Every result of a compiled op from now on."""
        real = recording.new_array

        def new_array(shape):
            array = real(shape)
            weakref.finalize(array, self.give_back, self.take(array.nbytes))
            return array

        for name, module in sys.modules.items():
            if name.startswith("redline.ops.") and hasattr(module, "new_array"):
                monkeypatch.setattr(module, "new_array", new_array)


@pytest.fixture
def directory(tmp_path):
    return write_directory(tmp_path / "m")


@pytest.mark.parametrize("kind", [as_it_is, unfused])
@pytest.mark.parametrize("rows", [1, 7])
def test_a_step_on_shapes_holds_what_the_real_step_holds(directory, kind, rows, monkeypatch):
    real, shaped = Live(), Live()
    stepper = Stepper(load_weights(directory, kind(backend("cpu")), "float"), 8)
    real.watch(monkeypatch)
    stepper.step(list(range(7)), range(7 - rows, 7))
    sized, _ = size_model(directory, backend("cpu"), "float")
    activations._run(sized, kind, shaped, 7, rows)
    assert shaped.peak_bytes == real.peak_bytes > 0
    assert sum(shaped.taken.values()) == 0 < len(shaped.taken) == len(real.taken)
    assert activations.step_bytes(sized, kind, 7, rows) >= real.peak_bytes, "scoring may take more, not less"


@pytest.fixture(scope="module")
def smollm2_decoders():
    return load_weights(smollm2(), backend("cpu"), "int8"), size_model(GGUFFile(smollm2()), None, "int8")[0]


@pytest.mark.model
@pytest.mark.parametrize("order", [range(1, 14), range(13, 0, -1), [5, 13, 2, 7, 1, 9]])
def test_batches_of_any_size_in_any_order_stay_in_the_blocks_that_were_planned(smollm2_decoders, order):
    decoder, sized = smollm2_decoders
    stepper = Stepper(decoder, 16)
    blocks = activations.arena_blocks(sized, as_it_is, 13)
    replay = forward.ReplayForward(decoder, stepper.kv, blocks)
    for count in order:
        batch = forward._inputs(count, count, forward.LEAST_WIDTH)
        batch.query_start_S1[:] = range(count + 1)
        batch.context_lens_S[:] = 1
        replay(batch)
    assert len(replay._graphs) == len(order) and replay._arena.nbytes == sum(blocks) > 2**20


def test_results_take_no_memory_until_they_are_looked_at():
    memory = Live()
    ops = shapes(memory)
    huge = ops.empty((2**20, 2**10))
    part = huge[:, 5:9].reshape(2, -1, 4)
    assert huge.base.nbytes == 4 and part.base is huge.base
    del huge
    assert sum(memory.taken.values()) == 4 * 2**30
    del part
    assert sum(memory.taken.values()) == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_holes_of_the_heap_are_used_when_they_fit_and_counted_when_they_do_not(order):
    heap = HeapMemory()
    first, second, _ = (heap.take(100) for _ in range(3))
    for place in order:
        heap.give_back((first, second)[place])
    assert heap.take(200) == first and heap.peak_bytes == 300
    heap.give_back(first)
    heap.take(201)
    assert heap.peak_bytes == 501


def test_the_end_of_the_heap_grows_from_the_hole_there():
    heap = HeapMemory()
    heap.take(100)
    heap.give_back(heap.take(50))
    heap.take(80)
    assert heap.peak_bytes == 180


def test_what_is_mapped_alone_goes_back_to_the_system():
    heap = HeapMemory()
    for _ in range(3):
        heap.give_back(heap.take(MAPPED_BYTES))
    assert heap.peak_bytes == MAPPED_BYTES
    heap.take(7)
    assert heap.peak_bytes == MAPPED_BYTES


def test_the_arena_takes_the_smallest_block_of_at_most_twice_the_size():
    arena = ArenaMemory()
    large, small = arena.take(40_000), arena.take(25_000)
    arena.give_back(large)
    arena.give_back(small)
    assert arena.take(24_000) == small and arena.take(24_000) == large
    arena.give_back(small)
    assert arena.take(10_000) == 2 and arena.blocks == [40_000, 25_000, 10_000]
