"""Whatever happens to the file: opening does not raise, and a block comes back right or not at all."""

import errno
import os
import random
import socket
from contextlib import closing

import pytest

from redline.cache.block_file import GROUP_SLOTS, PAGE, VERSION, Layout
from redline.cache.cache_folder import CacheFolder
from tests.cache.blocks import (
    BLOCK_BYTES,
    FINGERPRINT,
    assert_holds,
    bytes_of,
    key_of,
    load,
    open_store,
    save,
)

LAYOUT = Layout(BLOCK_BYTES)
NUM_BLOCKS = GROUP_SLOTS + 12
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")


@pytest.fixture
def path(tmp_path):
    """Where the file of the fingerprint belongs."""
    return CacheFolder(tmp_path, 2**20).path_of(FINGERPRINT)


@pytest.fixture
def filled(tmp_path, path):
    """The bytes of a file of NUM_BLOCKS blocks, which lies at `path`."""
    with closing(open_store(tmp_path, [])) as store:
        save(store, *range(NUM_BLOCKS))
    return path.read_bytes()


def count_intact(store) -> int:
    """Load every block; each is right or is forgotten."""
    num_intact = 0
    for n in range(NUM_BLOCKS):
        found = load(store, n)
        assert found is None or found == bytes_of(n), n
        assert (key_of(n) in store) == (found is not None)
        num_intact += found is not None
    return num_intact


def flip(data: bytearray, random_: random.Random) -> None:
    """One bit: anywhere, or among header and records, where chance would seldom hit."""
    page = random_.choice((0, LAYOUT.record_at(0), LAYOUT.record_at(GROUP_SLOTS)))
    position = random_.choice((random_.randrange(len(data)), page + random_.randrange(PAGE)))
    if position < len(data):
        data[position] ^= 1 << random_.randrange(8)


def overwrite(data: bytearray, random_: random.Random) -> None:
    start, size = random_.randrange(len(data)), random_.choice((5, 200, 5000))
    junk = random_.choice((bytes(size), random_.randbytes(size), b"\xff" * size))
    data[start : start + size] = junk[: len(data) - start]


def cut_off(data: bytearray, random_: random.Random) -> None:
    del data[random_.randrange(len(data)) :]


def shift(data: bytearray, random_: random.Random) -> None:
    start = random_.randrange(len(data))
    del data[start : start + random_.randrange(1, 40)]


def move_payload(data: bytearray, random_: random.Random) -> None:
    """One intact payload under the record of another."""
    source, target = (LAYOUT.payload_at(random_.randrange(NUM_BLOCKS)) for _ in range(2))
    data[target : target + BLOCK_BYTES] = data[source : source + BLOCK_BYTES]


def copy_record(data: bytearray, random_: random.Random) -> None:
    """Two slots that claim to hold one block."""
    source, target = (LAYOUT.record_at(random_.randrange(NUM_BLOCKS)) for _ in range(2))
    data[target : target + 32] = data[source : source + 32]


@pytest.mark.parametrize("damage", [flip, overwrite, cut_off, shift, move_payload, copy_record])
def test_a_damaged_file_gives_right_blocks_or_none(tmp_path, path, filled, damage):
    for seed in range(60):
        random_, data, warnings = random.Random(seed), bytearray(filled), []
        for _ in range(random_.randint(1, 3)):
            if data:
                damage(data, random_)
        path.write_bytes(data)
        with closing(open_store(tmp_path, warnings)) as store:
            assert len(warnings) <= 1
            num_found = store.num_blocks
            num_intact = count_intact(store)
            assert store.num_damaged >= num_found - num_intact
            assert len(warnings) <= 2
            save(store, 1000)
            store.flush()
            assert_holds(store, 1000)
        # What was damaged is repaired.
        warnings.clear()
        with closing(open_store(tmp_path, warnings)) as store:
            assert warnings == [] and store.num_blocks == num_intact + 1
            assert_holds(store, 1000)


def test_a_damaged_payload_is_said_once_and_forgotten_for_good(tmp_path, path, filled):
    data, warnings = bytearray(filled), []
    for slot in (3, 7):
        data[LAYOUT.payload_at(slot) + 100] ^= 1
    path.write_bytes(data)
    with closing(open_store(tmp_path, warnings)) as store:
        assert warnings == [] and store.num_blocks == NUM_BLOCKS
        assert count_intact(store) == NUM_BLOCKS - 2
        assert store.num_damaged == 2
        assert warnings == [f"{path}: a block is damaged; it is computed again, like others if there are any"]
        save(store, *range(NUM_BLOCKS))  # computed again
        store.flush()
        assert_holds(store, *range(NUM_BLOCKS))
    assert path.stat().st_size == len(filled), "the slots are used again"


def test_damaged_records_are_said_once(tmp_path, path, filled):
    data, warnings = bytearray(filled), []
    for slot in (3, 130):
        data[LAYOUT.record_at(slot) + 20] ^= 1
    path.write_bytes(data)
    with closing(open_store(tmp_path, warnings)) as store:
        assert warnings == [f"{path}: 2 of its blocks are damaged or cut off; they are computed again"]
        assert count_intact(store) == store.num_blocks == NUM_BLOCKS - 2
        assert store.num_damaged == 2


@pytest.mark.parametrize(
    "size, num_intact, num_lost",  # as far as the records are left to tell
    [
        (LAYOUT.num_bytes(100) - 1, 99, GROUP_SLOTS - 99),
        (LAYOUT.num_bytes(GROUP_SLOTS) + PAGE, GROUP_SLOTS, NUM_BLOCKS - GROUP_SLOTS),
    ],
)
def test_a_file_that_was_cut_off_keeps_the_blocks_before(tmp_path, path, filled, size, num_intact, num_lost):
    warnings = []
    path.write_bytes(filled[:size])
    with closing(open_store(tmp_path, warnings)) as store:
        assert count_intact(store) == num_intact
        assert warnings == [
            f"{path}: {num_lost} of its blocks are damaged or cut off; they are computed again"
        ]


def test_a_file_that_is_cut_off_while_it_is_open_harms_nobody(tmp_path, path, filled):
    warnings = []
    with closing(open_store(tmp_path, warnings)) as store:
        os.truncate(path, LAYOUT.num_bytes(50) + 10)
        assert count_intact(store) == 50
        save(store, *range(NUM_BLOCKS))
        store.flush()
        assert_holds(store, *range(NUM_BLOCKS))
    assert len(warnings) == 1


def test_a_block_that_the_disk_does_not_give_is_forgotten(tmp_path, path, filled, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    warnings = []
    with closing(open_store(tmp_path, warnings)) as store:
        monkeypatch.setattr(os, "preadv", fail)
        assert load(store, 1) is load(store, 2) is None
        monkeypatch.undo()
        assert key_of(1) not in store and store.num_damaged == 2 and len(warnings) == 1
        assert_holds(store, 0, 3)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda data: data[:8] + bytes([VERSION + 1]) + data[9:], id="another version"),
        pytest.param(lambda data: data[:12] + b"?" + data[13:], id="another byte order"),
        pytest.param(lambda data: b"something else altogether" * 1000, id="foreign bytes"),
        pytest.param(lambda data: data[:20], id="less than a header"),
    ],
)
def test_a_file_that_cannot_be_read_starts_anew(tmp_path, path, filled, content):
    warnings = []
    path.write_bytes(content(filled))
    with closing(open_store(tmp_path, warnings)) as store:
        assert warnings == [f"{path}: it was damaged or of another version; it starts anew, empty"]
        assert store.num_blocks == 0
        save(store, 1)
    with closing(open_store(tmp_path, warnings)) as store:
        assert_holds(store, 1)
    assert len(warnings) == 1


def test_blocks_of_another_size_start_anew(tmp_path, filled):
    warnings = []
    with closing(open_store(tmp_path, warnings, block_bytes=2 * BLOCK_BYTES)) as store:
        assert store.num_blocks == 0 and len(warnings) == 1
        save(store, 1, num_bytes=2 * BLOCK_BYTES)
        assert load(store, 1, num_bytes=2 * BLOCK_BYTES) == bytes_of(1, 2 * BLOCK_BYTES)


def test_the_file_of_another_model_is_not_taken_for_ours(tmp_path, path, filled):
    warnings = []
    other = CacheFolder(tmp_path, 2**20).path_of(b"other")
    path.rename(other)
    with closing(open_store(tmp_path, warnings, fingerprint=b"other")) as store:
        assert store.num_blocks == 0 and len(warnings) == 1


def test_an_empty_file_is_a_new_one(tmp_path, path):
    warnings = []
    path.touch()
    with closing(open_store(tmp_path, warnings)) as store:
        save(store, 1)
    with closing(open_store(tmp_path, warnings)) as store:
        assert_holds(store, 1)
    assert warnings == []


def make_link(path, victim):
    path.symlink_to(victim)


def make_second_name(path, victim):
    path.hardlink_to(victim)


def make_pipe(path, victim):
    os.mkfifo(path)


def make_folder(path, victim):
    path.mkdir()


def make_socket(path, victim):
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # names of sockets are short
        server.bind(path.name)


def make_file_of_another_user(path, victim):
    path.touch()
    os.chown(path, 1, 1)


@pytest.mark.parametrize(
    "make, reason",
    [
        (make_link, "it is a symbolic link"),
        (make_second_name, "it is not a plain file with one name"),
        (make_pipe, "it is not a plain file with one name"),
        (make_folder, "Is a directory"),
        (make_socket, "No such device or address"),
        pytest.param(make_file_of_another_user, "it belongs to another user", marks=as_root),
    ],
)
def test_something_else_under_the_name_is_left_alone(tmp_path, path, monkeypatch, make, reason):
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    make(path, victim)
    warnings = []
    with closing(open_store(tmp_path, warnings)) as store:
        save(store, 1)
        store.flush()
        assert key_of(1) not in store and load(store, 1) is None
        assert warnings == [f"{path}: {reason}; this process keeps no blocks on disk"]
    assert victim.read_bytes() == b"precious"
    assert path.is_symlink() or path.is_dir() or path.stat().st_size in (0, len(b"precious"))
