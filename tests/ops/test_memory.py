import resource
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import resource
import numpy as np
from redline.ops.memory import keep_freed_memory

print(keep_freed_memory())

def step():
    arrays = [np.ones((512, 1536), np.float32) for _ in range(5)]

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_large_arrays_are_made_without_page_faults():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, faults = run.stdout.split()
    if kept == "False":
        pytest.skip("this C library has no such setting")
    pages = 10 * 5 * np.dtype(np.float32).itemsize * 512 * 1536 // resource.getpagesize()
    assert int(faults) < pages / 100
