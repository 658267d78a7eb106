"""The memory budget: exact where it says so, within 3 % of what a process holds that uses all of it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from redline import LLM
from redline.config.engine import EngineConfig
from redline.config.memory import GIB, MIB, RESERVE_BYTES
from redline.config.resolve import AUTO_KV_SHARE, Hardware, resolve_runtime
from redline.engine import opening
from redline.engine.budget import BLOCK_BYTES, TOKEN_BYTES, plan_memory
from redline.errors import CapacityError, ConfigError
from redline.models.load import open_files
from redline.models.load_weights import load_weights
from redline.models.safetensors_weights import SafetensorsWeights
from redline.models.sized_weights import size_model
from redline.ops.registry import backend
from tests.model_file import smollm2
from tests.models.files import write_directory
from tests.models.shaped_gguf import write_shaped_gguf

MACHINE = Hardware(num_cores=2, free_bytes=4 * GIB)
MOST_WRONG = 0.03


def as_it_is(ops):
    return ops


@pytest.fixture(scope="module")
def files():
    return open_files(smollm2())


def plan(files, free_bytes=4 * GIB, **options):
    config = EngineConfig(model="smollm2", **options)
    runtime = resolve_runtime(config, MACHINE, None)
    sized = files.size(backend("cpu"), runtime.compute)
    return plan_memory(config, runtime, sized, as_it_is, replace(MACHINE, free_bytes=free_bytes), 64 * MIB)


def packed_bytes(decoder):
    """Of the matrices that a decoder holds, each once."""
    found, seen = {}, set()

    def walk(value):
        if id(value) in seen or type(value).__module__.split(".")[0] not in ("redline", "builtins"):
            return
        seen.add(id(value))
        if isinstance(value, list | tuple):
            [walk(each) for each in value]
        elif hasattr(value, "packed"):
            found[id(value.packed.codes if hasattr(value.packed, "codes") else value.packed)] = value.nbytes
        elif hasattr(value, "__dict__") or hasattr(value, "__slots__"):
            names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
            [walk(getattr(value, name)) for name in names if name != "ops"]

    walk(decoder)
    return sum(found.values())


@pytest.mark.model
@pytest.mark.parametrize("compute", ["int8", "float"])
def test_weights_are_known_to_the_byte_before_they_are_read(files, compute):
    _, sizes = files.size(backend("cpu"), compute)
    decoder = load_weights(files.gguf, backend("cpu"), compute)
    norms = 4 * 576 * (2 * decoder.spec.num_layers + 1)
    assert sizes.num_bytes - norms == packed_bytes(decoder) > 90 * MIB


@pytest.mark.parametrize("compute", ["int8", "float"])
def test_a_directory_is_sized_without_reading_its_tensors(tmp_path, compute, monkeypatch):
    path = write_directory(tmp_path / "m")
    decoder = load_weights(path, backend("cpu"), compute)
    monkeypatch.setattr(SafetensorsWeights, "_pack", None)  # whoever packs, reads
    _, sizes = size_model(path, backend("cpu"), compute)
    assert sizes.num_bytes - 4 * 8 * 5 == packed_bytes(decoder) > 0


def test_sizing_finds_what_is_missing(tmp_path):
    path = write_directory(tmp_path / "m", config={"num_hidden_layers": 3})
    with pytest.raises(Exception, match=r"model\.layers\.2.* is missing"):
        size_model(path, backend("cpu"), "int8")


@pytest.mark.model
def test_auto_takes_its_share_of_what_all_else_leaves(files):
    planned = plan(files, free_bytes=GIB, max_context=8192)
    budget = planned.budget
    beside = budget.needed_bytes - budget.kv_bytes
    expected = (GIB - beside - RESERVE_BYTES) * AUTO_KV_SHARE
    assert abs(budget.kv_bytes - expected) < 2 * MIB
    assert budget.left_bytes > RESERVE_BYTES
    assert any("left beside weights" in reason for reason in planned.cache.reasons)


@pytest.mark.model
def test_auto_takes_no_more_than_a_full_batch_can_fill(files):
    budget = plan(files, max_batch=2, max_context=512).budget
    assert [kind.num_blocks for kind in budget.kv] == [64]
    assert budget.kv_bytes == 64 * budget.kv[0].block_bytes == 1024 * 22.5 * 1024


@pytest.mark.model
def test_terms_follow_what_they_depend_on(files):
    common = {"max_batch": 4, "max_context": 1024, "jump_ahead": False}
    base = plan(files, **common).budget

    def changed(**options):
        budget = plan(files, **(common | options)).budget
        names = [field for field in budget.__slots__ if getattr(budget, field) != getattr(base, field)]
        return set(names) - {"kv", "table_bytes"}

    assert changed() == set()
    assert changed(chunked_prefill=128) == {"activation_bytes"}
    assert changed(max_batch=8) == {"graph_bytes"}
    assert changed(max_context=2048) == {"rotary_bytes", "graph_bytes"}
    assert changed(threads=1) == {"scratch_bytes"}
    assert changed(offload_memory="8MiB") == {"offload_bytes"}
    assert changed(graph_replay=False) == {"graph_bytes"}
    assert changed(jump_ahead=True) == changed(speculative="ngram") == {"graph_bytes"}
    assert changed(kv_format="int8") == set()
    assert "weight_bytes" in changed(compute="float")


@pytest.mark.model
@pytest.mark.parametrize(
    ("free", "options", "said"),
    [
        (150 * MIB, {}, "choose a smaller model"),
        (1000 * MIB, {"kv_memory": "900MiB"}, "lower kv_memory"),
        (1000 * MIB, {"offload_memory": "2GiB"}, "lower offload_memory"),
        (200 * MIB, {"chunked_prefill": None}, "lower chunked_prefill"),
    ],
)
def test_what_cannot_fit_is_refused_before_loading(files, free, options, said):
    with pytest.raises(CapacityError, match=r"weights 92\.1 MiB \+ .* free are") as refused:
        plan(files, free_bytes=free, **options)
    assert said in str(refused.value)


@pytest.mark.model
def test_auto_takes_the_least_where_no_more_is_left(files):
    budget = plan(files).budget
    kind, added = budget.kv[0], BLOCK_BYTES + 16 * TOKEN_BYTES  # a block and what it adds to the tables
    beside = budget.needed_bytes - budget.kv_bytes - kind.num_blocks * added
    least = beside + 2 * (kind.block_bytes + added) + RESERVE_BYTES
    found = plan(files, free_bytes=least).budget
    assert found.kv[0].num_blocks == 2 and found.left_bytes >= RESERVE_BYTES
    with pytest.raises(CapacityError, match="does not fit in memory"):
        plan(files, free_bytes=least - 1)


@pytest.mark.model
def test_memory_that_is_short_of_a_block_is_refused_by_the_cache(files):
    with pytest.raises(ConfigError, match="at least 2 are needed; raise kv_memory"):
        plan(files, kv_memory="1MiB", block_size=1024)


@pytest.mark.model
def test_no_weight_is_read_of_a_model_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(opening, "hardware", lambda: Hardware(num_cores=1, free_bytes=120 * MIB))
    monkeypatch.setattr("redline.models.load.ModelFiles.load", None)
    with pytest.raises(CapacityError, match="does not fit in memory"):
        LLM(str(smollm2()))


CASES = [
    ("LLM", {"max_batch": 1, "threads": 1, "max_context": 2048, "kv_memory": "64MiB"}),
    ("LLM", {"max_batch": 32, "threads": 2, "max_context": 1024, "kv_memory": "512MiB"}),
    ("LLM", {"max_batch": 32, "threads": 1, "max_context": 512, "chunked_prefill": 128, "kv_format": "int8"}),
    ("LLM", {"max_batch": 1, "threads": 2, "max_context": 1024, "chunked_prefill": None}),
    ("LLM", {"max_batch": 2, "threads": 2, "max_context": 256, "compute": "float", "offload_memory": "9MiB"}),
    # Steps held to a time are smaller, as long as nobody queues: the budget is that of the largest.
    (
        "AsyncLLM",
        {"max_batch": 8, "threads": 2, "max_context": 1024, "kv_memory": "64MiB", "step_time": None},
    ),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(("api", "options"), CASES)
def test_a_process_that_uses_everything_holds_what_was_predicted(api, options):
    check_prediction(api, smollm2(), options)


@pytest.mark.slow
@pytest.mark.model
def test_the_prediction_holds_for_a_larger_model(tmp_path):
    shape = {"hidden": 1536, "ffn": 6144, "layers": 8, "heads": 24, "kv_heads": 8}
    path = write_shaped_gguf(tmp_path / "m.gguf", smollm2(), **shape)
    assert path.stat().st_size > 350 * MIB
    check_prediction("LLM", path, {"max_batch": 4, "threads": 2, "max_context": 512, "kv_memory": "64MiB"})


@pytest.mark.slow
@pytest.mark.model
def test_the_prediction_covers_a_draft_model():
    """Of the passes that may be recorded, of many sizes, a run has not all."""
    drafting = {"method": "draft_model", "model": "smollm2"}
    options = {"max_batch": 4, "threads": 2, "max_context": 1024, "kv_memory": "64MiB"}
    check_prediction("LLM", smollm2(), options | {"speculative": drafting}, (-0.01, 0.07))


def check_prediction(api, path, options, within=(-MOST_WRONG, MOST_WRONG)):
    # The graphs of jump-ahead are for requests with a grammar, which come with a parser.
    options = {"jump_ahead": False, **options}
    command = [sys.executable, "-m", "tests.engine.memory_user", api, str(path), json.dumps(options)]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    wrong = result["predicted"] / result["used"] - 1
    lines = "\n".join(result["lines"])
    assert within[0] < wrong < within[1], f"{wrong:+.2%} of {result['used'] / MIB:.1f} MiB\n{lines}"
    print(f"{api} {options}: {result['predicted'] / MIB:.1f} of {result['used'] / MIB:.1f} MiB, {wrong:+.2%}")
