from collections.abc import Iterator

import pytest

from tests.server.running_server import RunningServer


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all tests of a file that do not stop it or hold its engine."""
    with RunningServer() as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[RunningServer]:
    """A server for one test."""
    with RunningServer() as running:
        yield running
