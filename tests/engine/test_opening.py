"""What is known of a model before its weights are read."""

import pytest

from redline import LLM
from redline.config.engine import EngineConfig
from redline.config.memory import MIB
from redline.engine.opening import predict
from redline.errors import CapacityError, ConfigError
from tests.server.tiny_models import CONTEXT, write_tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf", seed=1))


@pytest.mark.parametrize("memory", ["12MiB", "16MiB"])
def test_a_prediction_is_what_loading_finds(path, memory):
    config = EngineConfig(model=path, memory=memory)
    predicted, llm = predict(config, 2**40), LLM(path, memory=memory)
    assert predicted.memory.needed_bytes == llm.memory.needed_bytes <= int(memory[:2]) * MIB
    assert predicted.memory.kv == llm.memory.kv
    assert (predicted.name, predicted.max_context) == (llm.model_name, CONTEXT)
    assert (predicted.hidden_size, predicted.vocab_size) == (llm.embedding_size, llm.tokenizer.vocab_size)


def test_memory_bounds_the_cache_and_refuses_what_does_not_fit(path):
    sizes = [predict(EngineConfig(model=path, memory=size), 2**40).memory for size in ("12MiB", "16MiB")]
    assert sizes[0].kv_bytes < sizes[1].kv_bytes
    with pytest.raises(CapacityError, match="does not fit in memory"):
        predict(EngineConfig(model=path, memory="5MiB"), 2**40)
    with pytest.raises(CapacityError, match="does not fit in memory"):
        predict(EngineConfig(model=path), 5 * MIB)
    with pytest.raises(ConfigError, match="memory is 'much'"):
        EngineConfig(model=path, memory="much")
