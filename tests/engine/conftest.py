import pytest

from redline import LLM
from tests.model_file import smollm2


@pytest.fixture(scope="module")
def llm():
    return LLM(str(smollm2()), max_context=256, kv_memory="64MiB")
