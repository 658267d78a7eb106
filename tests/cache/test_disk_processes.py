"""DiskStore beside other processes, on a full disk, in folders it may not write, and killed in the middle."""

import os
import random
import signal
import subprocess
from contextlib import closing

import pytest

from redline.cache.block_file import Layout
from redline.errors import ConfigError
from tests.cache.blocks import (
    BLOCK_BYTES,
    FINGERPRINT,
    assert_holds,
    bytes_of,
    key_of,
    load,
    open_store,
    save,
    start_child,
)

NUM_BYTES = Layout(BLOCK_BYTES).num_bytes
LARGE = 6 * 2**16  # bytes of a block that takes long enough to write that a kill hits the middle


@pytest.fixture
def mounted(tmp_path):
    """Mounts a file system in memory with the given options; skips where that is not allowed."""
    points = []

    def mount(options):
        point = tmp_path / "mounted"
        point.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("may not mount a file system")
        points.append(point)
        return point

    yield mount
    for point in points:
        subprocess.run(["umount", str(point)], check=True)


SAVES_FOR_EVER = """
folder, num_bytes, capacity = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
data = [parts_of(bytes_of(n, num_bytes)) for n in range(100)]
store = open_store(folder, [], block_bytes=num_bytes, capacity_bytes=capacity)
n = 0
while True:
    store.save(key_of(n % 100), data[n % 100])
    n += 1
    if n % 8 == 0:
        store.flush()
        print(n, flush=True)
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_process_leaves_right_blocks(tmp_path, seed):
    """SIGKILL while the oldest blocks are overwritten: at worst one is lost, and none is damaged."""
    warnings, capacity = [], Layout(LARGE).num_bytes(40)
    child = start_child(SAVES_FOR_EVER, tmp_path, LARGE, capacity)
    with child:
        for _ in range(random.Random(seed).randint(6, 12)):
            child.stdout.readline()
        child.kill()
    with closing(open_store(tmp_path, warnings, block_bytes=LARGE, capacity_bytes=capacity)) as store:
        found = [n for n in range(100) if key_of(n) in store]
        assert 39 <= len(found) <= 40
        for n in found:
            assert load(store, n, LARGE) == bytes_of(n, LARGE)
        assert store.num_damaged == 0 and warnings == []


IS_KILLED_AT_A_WRITE = """
num_before = int(sys.argv[2])
store = open_store(Path(sys.argv[1]), [], capacity_bytes=int(sys.argv[3]))
save(store, 1, 2, 3)
store.flush()
real = os.pwrite

def pwrite(fd, data, offset):
    global num_before
    if num_before == 0:
        if len(data) == BLOCK_BYTES:
            real(fd, data[: BLOCK_BYTES // 2], offset)
        os.kill(os.getpid(), 9)
    num_before -= 1
    return real(fd, data, offset)

os.pwrite = pwrite
save(store, 4)
store.flush()
"""


@pytest.mark.parametrize("num_before, left", [(0, [1, 2, 3]), (1, [2, 3]), (2, [2, 3]), (3, [2, 3, 4])])
def test_a_kill_between_two_writes_damages_no_block(tmp_path, num_before, left):
    """A block takes three writes: the empty record, the payload, the record. Later ones are of others."""
    warnings, capacity = [], NUM_BYTES(3)
    with start_child(IS_KILLED_AT_A_WRITE, tmp_path, num_before, capacity) as child:
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    with closing(open_store(tmp_path, warnings, capacity_bytes=capacity)) as store:
        assert [n for n in range(9) if key_of(n) in store] == left
        assert_holds(store, *left)
    assert warnings == []


HOLDS_THE_FILE = """
store = open_store(Path(sys.argv[1]), [])
save(store, 1)
store.flush()
print("open", flush=True)
sys.stdin.readline()
store.close()
"""


def test_a_second_process_runs_without(tmp_path):
    warnings = []
    with start_child(HOLDS_THE_FILE, tmp_path) as child:
        assert child.stdout.readline() == "open\n"
        [path] = tmp_path.iterdir()
        before = path.read_bytes()
        with closing(open_store(tmp_path, warnings)) as store:
            save(store, 2)
            store.flush()
            assert store.num_blocks == 0 and load(store, 1) is load(store, 2) is None
        assert warnings == [f"{path}: another process uses it; this process keeps no blocks on disk"]
        assert path.read_bytes() == before
        child.communicate("close\n")
    with closing(open_store(tmp_path, warnings)) as store:
        assert_holds(store, 1)
    assert len(warnings) == 1


def check_full(store, warnings, num_tried):
    """It holds the latest blocks that found room and said once that it grows no more."""
    num_blocks = store.num_blocks
    assert 0 < num_blocks < num_tried
    assert_holds(store, *range(num_tried - num_blocks, num_tried))
    assert len(warnings) == 1
    assert warnings[0].endswith(f"; it stays at {num_blocks} blocks")


def test_a_full_disk_ends_the_growth(mounted):
    folder, warnings = mounted("size=128k"), []
    with closing(open_store(folder, warnings)) as store:
        save(store, *range(200))
        store.flush()
        check_full(store, warnings, 200)
        assert "No space left on device" in warnings[0]
        [path] = folder.iterdir()
        assert path.stat().st_size == NUM_BYTES(store.num_blocks)
        num_blocks = store.num_blocks
    with closing(open_store(folder, [])) as store:
        assert_holds(store, *range(200 - num_blocks, 200))


def test_a_full_disk_from_the_start(mounted):
    folder, warnings = mounted("size=64k"), []
    with pytest.raises(OSError, match="No space left"):
        (folder / "filler").write_bytes(bytes(2**20))
    with closing(open_store(folder, warnings)) as store:
        save(store, 1)
        store.flush()
        assert store.num_blocks == 0
    assert len(warnings) == 1 and "No space left on device; this process keeps no blocks" in warnings[0]


LIMITED = """
from redline.cache.block_file import Layout
resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))
warnings = []
store = open_store(Path(sys.argv[1]), warnings)
save(store, *range(200))
store.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
first = 200 - store.num_blocks
assert os.stat(store._path).st_size == Layout(BLOCK_BYTES).num_bytes(store.num_blocks)
print(first, store.num_dropped, flush=True)
save(store, 300, 301)  # nothing but the records of the first slots can be written now
store.flush()
print(store.num_blocks, store.num_dropped, len(warnings), flush=True)
assert_holds(store, *range(first + 1, 200))
store.close()
print(*warnings, sep="\\n", flush=True)
"""


def test_blocks_that_cannot_be_written_are_dropped(tmp_path):
    with start_child(LIMITED, tmp_path) as child:
        output, _ = child.communicate()
    assert child.returncode == 0
    first, *rest = output.splitlines()
    num_blocks = 200 - int(first.split()[0])
    assert num_blocks == (64 * 1024 - 2 * 4096) // BLOCK_BYTES and first.split()[1] == "0"
    # Besides growth and writing, the order of use may have been warned of: the records are written when idle.
    assert rest[0] in (f"{num_blocks - 1} 2 2", f"{num_blocks - 1} 2 3")
    assert "File too large; it stays at" in rest[1]
    assert any("File too large; blocks that cannot be written are dropped" in line for line in rest[2:])
    warnings = []
    with closing(open_store(tmp_path, warnings)) as store:
        assert store.num_blocks in (num_blocks - 1, num_blocks)
        for n in range(400):
            assert load(store, n) in (None, bytes_of(n))


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match=r"cache_dir is '.*file': it is a file; name a folder"):
        open_store(file, [])
    with pytest.raises(ConfigError, match=r"cannot be created: Not a directory; name a folder"):
        open_store(file / "below", [])


def test_a_folder_that_is_read_only_is_refused(mounted):
    folder = mounted("ro")
    with pytest.raises(ConfigError, match=r"cache_dir is .*: it cannot be read and written; name a folder"):
        open_store(folder, [])
    with pytest.raises(ConfigError, match=r"it cannot be created: Read-only file system"):
        open_store(folder / "below", [])


ANOTHER_USER = """
from redline.errors import ConfigError
if os.geteuid() == 0:
    os.seteuid(65534)
else:
    Path(sys.argv[1]).chmod(0)
try:
    open_store(Path(sys.argv[1]) / "below", [])
except ConfigError as error:
    print(error)
"""


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    with start_child(ANOTHER_USER, folder) as child:
        output, _ = child.communicate()
    folder.chmod(0o700)
    assert "it cannot be created: Permission denied; name a folder that you may write to" in output


def test_a_file_that_is_deleted_while_it_is_opened_is_opened_again(tmp_path, monkeypatch):
    """Another process that makes room may take the file between the opening and the lock."""
    warnings, real, opened = [], os.open, []

    def open_and_delete(path, *arguments):
        opened.append(path)
        fd = real(path, *arguments)
        if len(opened) == 1:
            os.unlink(path)
        return fd

    monkeypatch.setattr(os, "open", open_and_delete)
    store = open_store(tmp_path, warnings, fingerprint=FINGERPRINT)
    monkeypatch.undo()
    save(store, 1)
    store.close()
    assert len(opened) == 2
    with closing(open_store(tmp_path, warnings)) as store:
        assert_holds(store, 1)
    assert warnings == []
