import os
import stat
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from redline.cache import disk_store
from redline.cache.block_file import GROUP_SLOTS, BlockFile, Layout
from redline.errors import ConfigError
from tests.cache.blocks import BLOCK_BYTES, assert_holds, key_of, load, open_store, save

NUM_BYTES = Layout(BLOCK_BYTES).num_bytes


@pytest.fixture
def warnings():
    """What stores said; a test that expects it takes it out."""
    said: list[str] = []
    yield said
    assert said == []


def held_by(store, count=200):
    return [n for n in range(count) if key_of(n) in store]


def test_blocks_and_their_order_outlive_the_store(tmp_path, warnings):
    capacity = NUM_BYTES(4)
    store = open_store(tmp_path, warnings, capacity_bytes=capacity)
    save(store, 1, 2, 3, 4)
    assert_holds(store, 1)
    save(store, 2)
    store.close()
    store = open_store(tmp_path, warnings, capacity_bytes=capacity)
    assert held_by(store) == [1, 2, 3, 4]
    save(store, 5, 6)
    store.flush()
    assert held_by(store) == [1, 2, 5, 6]
    assert_holds(store, 1, 2, 5, 6)
    store.close()


def slowly(function):
    def call(*arguments):
        time.sleep(0.05)
        return function(*arguments)

    return call


def test_the_order_of_use_is_in_the_file_after_a_flush(tmp_path, warnings, monkeypatch):
    store = open_store(tmp_path, warnings)
    save(store, 1, 2)
    store.flush()
    assert_holds(store, 1)
    monkeypatch.setattr(BlockFile, "write_record", slowly(BlockFile.write_record))
    store.flush()
    copy = tmp_path / "copy"
    copy.mkdir()
    [path] = tmp_path.glob("*.kvblocks")
    (copy / path.name).write_bytes(path.read_bytes())  # as a killed process would leave it
    store.close()
    store = open_store(copy, warnings, capacity_bytes=NUM_BYTES(2))
    save(store, 3)
    store.flush()
    assert held_by(store) == [1, 3]
    store.close()


def test_the_order_of_use_is_in_the_file_soon_after_the_next_block(tmp_path, warnings):
    store = open_store(tmp_path, warnings)
    save(store, 1)
    store.flush()
    [path] = tmp_path.iterdir()

    def record():
        return path.read_bytes()[Layout(BLOCK_BYTES).record_at(0) :][:32]

    before = record()
    assert_holds(store, 1)
    save(store, 2)
    for _ in range(1000):
        if record() != before:
            break
        time.sleep(0.01)
    assert record() != before
    store.close()


def test_a_file_of_several_groups_grows_to_the_capacity_and_no_further(tmp_path, warnings):
    num_slots = 2 * GROUP_SLOTS + 5
    store = open_store(tmp_path, warnings, capacity_bytes=NUM_BYTES(num_slots + 1) - 1)
    save(store, *range(num_slots + 3))
    store.close()
    [path] = tmp_path.iterdir()
    assert path.stat().st_size == NUM_BYTES(num_slots)
    store = open_store(tmp_path, warnings, capacity_bytes=NUM_BYTES(num_slots))
    assert held_by(store, num_slots + 3) == list(range(3, num_slots + 3))
    assert_holds(store, *range(3, num_slots + 3))
    store.close()


def test_a_lower_capacity_shortens_the_file(tmp_path, warnings):
    store = open_store(tmp_path, warnings)
    save(store, *range(6))
    store.close()
    store = open_store(tmp_path, warnings, capacity_bytes=NUM_BYTES(4))
    assert (store.num_blocks, store.num_evicted) == (4, 2)
    assert_holds(store, *held_by(store))
    store.close()
    [path] = tmp_path.iterdir()
    assert path.stat().st_size == NUM_BYTES(4)
    store = open_store(tmp_path, warnings)  # what was given up is no damage
    assert store.num_blocks == 4
    store.close()


def test_a_block_may_have_more_parts_than_one_call_of_the_system_takes(tmp_path, warnings):
    parts = list(np.arange(5000, dtype=np.int32).reshape(2500, 2))
    store = open_store(tmp_path, warnings, block_bytes=20_000)
    store.save(key_of(1), parts)
    store.flush()
    loaded = [np.zeros_like(part) for part in parts]
    assert store.load(key_of(1), loaded)
    np.testing.assert_array_equal(loaded, parts)
    store.close()


@dataclass
class HeldWrites:
    has_come: threading.Event  # the first write waits
    may_go: threading.Event


@pytest.fixture
def held_writes(monkeypatch):
    """Writes to the file wait until the event is set."""
    held = HeldWrites(has_come=threading.Event(), may_go=threading.Event())
    write = BlockFile.write

    def wait_and_write(*arguments):
        held.has_come.set()
        assert held.may_go.wait(30)
        return write(*arguments)

    monkeypatch.setattr(BlockFile, "write", wait_and_write)
    return held


def test_blocks_in_the_queue_are_there_and_more_than_it_takes_are_dropped(
    tmp_path, warnings, held_writes, monkeypatch
):
    monkeypatch.setattr(disk_store, "QUEUE_BYTES", 5 * BLOCK_BYTES)
    store = open_store(tmp_path, warnings)
    save(store, *range(8))
    assert held_writes.has_come.wait(30)
    assert held_by(store) == [0, 1, 2, 3, 4]
    assert (store.num_blocks, store.num_saved, store.num_dropped) == (5, 0, 3)
    assert_holds(store, 4, 0, 2)
    save(store, 1)
    held_writes.may_go.set()
    store.flush()
    assert (store.num_blocks, store.num_saved, store.num_dropped) == (5, 5, 3)
    store.close()
    store = open_store(tmp_path, warnings, capacity_bytes=NUM_BYTES(5))
    save(store, 5, 6)
    store.flush()
    assert held_by(store) == [0, 1, 2, 5, 6]  # 3 and 4 were used before 0, 2 and 1
    assert_holds(store, 0, 1, 2, 5, 6)
    store.close()


def test_a_block_in_the_queue_is_not_evicted(tmp_path, warnings, held_writes):
    held_writes.may_go.set()
    store = open_store(tmp_path, warnings, capacity_bytes=NUM_BYTES(2))
    save(store, 1, 2)
    store.flush()
    held_writes.has_come.clear()
    held_writes.may_go.clear()
    save(store, 3)
    assert held_writes.has_come.wait(30)  # 1 has made room
    save(store, 4)
    assert_holds(store, 3, 2)
    held_writes.may_go.set()
    store.flush()
    assert held_by(store) == [2, 4] and store.num_dropped == 0  # 4 is the oldest, and waits; 3 is the next
    store.close()


def test_close_writes_what_is_queued(tmp_path, warnings, held_writes):
    store = open_store(tmp_path, warnings)
    save(store, *range(20))
    threading.Timer(0.05, held_writes.may_go.set).start()
    store.close()
    store = open_store(tmp_path, warnings)
    assert_holds(store, *range(20))
    store.close()


def test_a_block_that_is_evicted_during_a_read_is_no_hit_and_no_damage(tmp_path, warnings, monkeypatch):
    store = open_store(tmp_path, warnings, capacity_bytes=NUM_BYTES(1))
    save(store, 1)
    store.flush()
    read = BlockFile.read

    def read_while_another_is_written(*arguments):
        intact = read(*arguments)
        save(store, 2)
        store.flush()
        return intact

    monkeypatch.setattr(BlockFile, "read", read_while_another_is_written)
    assert load(store, 1) is None
    assert (store.num_loaded, store.num_damaged) == (0, 0)
    monkeypatch.undo()
    assert_holds(store, 2)
    store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_failed(tmp_path, warnings, monkeypatch):
    monkeypatch.setattr(BlockFile, "write", lambda *arguments: 1 / 0)
    store = open_store(tmp_path, warnings)
    save(store, 1)
    store.flush()
    save(store, 2)
    assert key_of(2) not in store and store.num_dropped == 1
    store.close()


def test_models_have_files_of_their_own(tmp_path, warnings):
    one = open_store(tmp_path, warnings, fingerprint=b"one")
    other = open_store(tmp_path, warnings, fingerprint=b"other")
    save(one, 1)
    save(other, 2)
    one.flush()
    assert held_by(one) == [1] and held_by(other) == [2]
    one.close()
    other.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_folder_stays_within_the_capacity(tmp_path, warnings):
    """Files of other models go, the longest unused first, but none that is in use and nothing else."""
    stranger = tmp_path / "notes.txt"
    stranger.write_bytes(bytes(2**20))
    capacity = NUM_BYTES(100)
    paths = {}
    for age, name in enumerate((b"in use", b"older", b"younger")):
        store = open_store(tmp_path, warnings, fingerprint=name, capacity_bytes=capacity)
        save(store, *range(20))
        store.close()
        [paths[name]] = {*tmp_path.glob("*.kvblocks")} - {*paths.values()}
        os.utime(paths[name], (age, age))
    in_use = open_store(tmp_path, warnings, fingerprint=b"in use", capacity_bytes=capacity)
    os.utime(paths[b"in use"], (0, 0))

    store = open_store(tmp_path, warnings, capacity_bytes=capacity)
    save(store, *range(7))
    store.flush()
    assert paths[b"older"].exists(), "there was room"
    save(store, *range(30))
    store.flush()
    assert not paths[b"older"].exists() and paths[b"younger"].exists()
    save(store, *range(100))
    store.flush()
    assert_holds(in_use, *range(20))
    assert not paths[b"younger"].exists() and stranger.exists()
    files = list(tmp_path.glob("*.kvblocks"))
    assert len(files) == 2
    assert capacity - 2 * BLOCK_BYTES < sum(path.stat().st_size for path in files) <= capacity
    assert store.num_blocks < 80 and held_by(store)[-1] == 99
    assert "files of other models that are in use fill the folder; it stays at" in warnings.pop()
    in_use.close()
    store.close()


def test_two_models_that_grow_at_once_share_the_folder(tmp_path, warnings):
    capacity = NUM_BYTES(3 * GROUP_SLOTS)
    stores = [
        open_store(tmp_path, warnings, fingerprint=name, capacity_bytes=capacity) for name in (b"1", b"2")
    ]
    for n in range(3 * GROUP_SLOTS):
        for store in stores:
            save(store, n)
            store.flush()  # so they grow in turn
    for store in stores:
        store.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) <= capacity + GROUP_SLOTS * BLOCK_BYTES, "each looks again after a group of slots"
    assert len(warnings) == 2
    warnings.clear()


def test_opening_deletes_no_file_that_fits(tmp_path, warnings):
    for name in (b"one", b"two", b"three"):
        store = open_store(tmp_path, warnings, fingerprint=name, capacity_bytes=NUM_BYTES(40))
        save(store, 1, 2, 3)
        store.close()
    assert len(list(tmp_path.iterdir())) == 3
    store = open_store(tmp_path, warnings, fingerprint=b"one", capacity_bytes=NUM_BYTES(5))
    assert len(list(tmp_path.iterdir())) == 1
    assert_holds(store, 1, 2, 3)
    store.close()


def test_a_capacity_below_one_block_is_refused(tmp_path):
    pattern = r"cache_dir_size is 8959 bytes, but a file with one block takes 8960 \(two pages of 4096 "
    with pytest.raises(ConfigError, match=pattern):
        open_store(tmp_path, [], capacity_bytes=8959)
    assert list(tmp_path.iterdir()) == []
    open_store(tmp_path, [], capacity_bytes=8960).close()


def test_only_the_owner_may_read(tmp_path, warnings, monkeypatch):
    umask = os.umask(0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fchmod", lambda *arguments: None)  # not even for a moment
        store = open_store(tmp_path / "a" / "b", warnings)
    os.umask(umask)
    store.close()
    [path] = (tmp_path / "a" / "b").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    open_store(path.parent, warnings).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
