import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from redline import _kernels
from redline.ops.registry import backend
from redline.quant.float import FloatWeight


@pytest.fixture
def four_threads():
    before = _kernels.num_threads()
    _kernels.set_num_threads(4)
    yield
    _kernels.set_num_threads(before)


@pytest.fixture
def weight(rng):
    return FloatWeight.pack(rng.standard_normal((600, 64)).astype(np.float32))


def test_more_threads_than_processors_lose_no_range(weight, rng, four_threads):
    ops, x = backend("cpu"), rng.standard_normal((3, 64)).astype(np.float32)
    expected = weight.matmul(ops, x)
    for count in (7, 1, 3, 16, 2):
        _kernels.set_num_threads(count)
        for _ in range(200):
            np.testing.assert_array_equal(weight.matmul(ops, x), expected)


def test_calls_from_several_threads_take_turns(weight, rng, four_threads):
    ops, wrong = backend("cpu"), []
    xs = [rng.standard_normal((2, 64)).astype(np.float32) for _ in range(4)]
    expected = [weight.matmul(ops, x) for x in xs]

    def call(index):
        for _ in range(200):
            if not np.array_equal(weight.matmul(ops, xs[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


REPLACE_THE_POOL = """
import threading
import numpy as np
from redline import _kernels
from redline.ops.registry import backend
from redline.quant.float import FloatWeight

weight, ops = FloatWeight.pack(np.ones((600, 64), np.float32)), backend("cpu")
stop, wrong = threading.Event(), []
def call():
    while not stop.is_set():
        if not (weight.matmul(ops, np.ones((3, 64), np.float32)) == 64).all():
            wrong.append(1)
caller = threading.Thread(target=call)
caller.start()
for turn in range(300):
    _kernels.set_num_threads(1 + turn % 3)
stop.set()
caller.join()
assert not wrong
"""


def test_the_number_of_threads_may_change_while_another_engine_works():
    """In a process of its own: a pool that goes away under a call takes the process with it."""
    subprocess.run([sys.executable, "-c", REPLACE_THE_POOL], check=True, timeout=60)


TOO_MANY_THREADS = """
import resource
from redline.errors import ConfigError
from redline.ops.threads import set_num_threads

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, resource.RLIM_INFINITY))
try:
    set_num_threads(1024)
except ConfigError as error:
    assert "threads is 1024" in str(error)
else:
    raise SystemExit("1024 stacks fitted")
set_num_threads(2)
"""


def test_more_threads_than_the_system_has_are_refused():
    subprocess.run([sys.executable, "-c", TOO_MANY_THREADS], check=True, timeout=60)


def test_a_call_does_not_wait_for_workers_that_never_come(weight, rng, four_threads):
    """A forked child has the pool but none of its threads."""
    ops, x = backend("cpu"), rng.standard_normal((3, 64)).astype(np.float32)
    expected = weight.matmul(ops, x)
    time.sleep(0.05)  # the workers fall asleep, so none of them holds a lock at the fork
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(weight.matmul(ops, x), expected) else 1)
    for _ in range(1000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done and status == 0, "the child hangs or computed something else"
