import signal

import numpy as np
import pytest

# Whoever starts the tests in the background of a shell without job control has them ignore Ctrl-C, and all
# that they start too. The tests send it themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
