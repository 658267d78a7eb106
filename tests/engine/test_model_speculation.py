"""Speculation with a model that drafts: the same bits with and without, on the real model."""

import pytest

from redline import LLM, SamplingParams
from redline.decoding.speculative.costs import StepCosts
from redline.decoding.speculative.depth import Depth
from redline.engine import model_speculation
from redline.errors import ConfigError
from redline.models.load import open_files
from tests.engine.test_speculation import GREEDY, OPTIONS, PARAMS, PROMPTS, answers
from tests.model_file import smollm2
from tests.models.shaped_gguf import write_shaped_gguf

pytestmark = pytest.mark.model

SKIP = {"method": "layer_skip", "skip": [12, 13, 14, 15]}  # right about as often as not
EXIT = {"method": "early_exit", "layers": 3}  # hardly ever right
ITSELF = {"method": "draft_model", "model": "smollm2"}  # right about all that is greedy


@pytest.fixture(scope="module")
def plain():
    llm = LLM(str(smollm2()), **OPTIONS)
    return {name: llm.generate(PROMPTS, params) for name, params in PARAMS.items()}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A small model with random weights."""
    path = tmp_path_factory.mktemp("draft") / "stranger.gguf"
    write_shaped_gguf(path, smollm2(), hidden=64, ffn=64, layers=2, heads=2, kv_heads=1)
    return {"method": "draft_model", "model": str(path)}


@pytest.fixture
def drafts_all(monkeypatch):
    """Everybody gets drafts of full length, whether it pays or not."""

    def depth(chances, most, num_rows, max_rows, step_cost, draft_cost):
        return Depth(len(chances), most)

    monkeypatch.setattr(model_speculation, "draft_depth", depth)


def build(options, num_speculative_tokens=15, **others):
    speculative = options | {"num_speculative_tokens": num_speculative_tokens}
    return LLM(str(smollm2()), **{**OPTIONS, "speculative": speculative, **others})


def check(llm, plain, names=PARAMS):
    outputs = []
    for name in names:
        got = llm.generate(PROMPTS, PARAMS[name])
        assert answers(got) == answers(plain[name]), name
        llm._engine.scheduler.check_integrity()
        outputs += got
    return [sum(getattr(each.metrics, key) for each in outputs) for key in COUNTS]


COUNTS = ("num_draft_tokens", "num_accepted_tokens")


@pytest.mark.parametrize(("options", "length"), [(SKIP, 1), (SKIP, 4), (EXIT, 3), (ITSELF, 6)])
def test_drafts_of_every_kind_and_length_change_nothing(plain, drafts_all, options, length):
    names = PARAMS if length == 4 else ["greedy", "choices"]
    drafted, right = check(build(options, length), plain, names)
    assert drafted > 100 and right < drafted
    assert right > 100 or options is EXIT


def test_a_draft_model_that_is_always_wrong_changes_nothing(plain, drafts_all, stranger):
    drafted, right = check(build(stranger, 3), plain, ["greedy"])
    assert drafted > 500 and right < drafted / 20


@pytest.mark.parametrize(("options", "name"), [(SKIP, "greedy"), (ITSELF, "seeded")], ids=["skip", "model"])
@pytest.mark.parametrize(
    "others",
    [
        {"kv_memory": "5MiB", "max_context": 160},  # preempts
        {"prefix_cache": False, "chunked_prefill": 8},
        {"graph_replay": False, "block_size": 5},
    ],
    ids=str,
)
def test_beside_other_techniques(plain, drafts_all, options, name, others):
    llm = build(options, 4, **others)
    drafted, right = check(llm, plain, [name])
    assert drafted > right > 0
    assert llm.stats().num_preemptions > 0 or "kv_memory" not in others


def test_a_draft_model_that_is_the_model_itself_is_always_right(plain, drafts_all):
    llm = build(ITSELF, 4, kv_memory="5MiB", max_context=160)
    drafted, right = check(llm, plain, ["greedy"])
    assert drafted == right > 100 and llm.stats().num_preemptions > 0


def test_a_draft_model_knows_all_tokens_that_came_also_after_wrong_drafts(plain, drafts_all):
    """Its first token is the likeliest one, given all before it; which that was, log-probabilities say."""
    llm = build(ITSELF, 5)
    proposer, drafted = llm._engine._speculation._proposer, []
    propose = proposer.propose

    def spy(wanted):
        drafts = propose(wanted)
        drafted.extend(
            (seq.seq_id, len(seq.output_token_ids), draft[0])
            for (seq, _), draft in zip(wanted, drafts, strict=True)
        )
        return drafts

    proposer.propose = spy
    for name in ("seeded", "choices"):
        drafted.clear()
        (output,) = llm.generate([PROMPTS[0]], PARAMS[name])
        ids = llm._engine._seq_ids_of[output.request_id]
        likeliest = {
            (seq_id, place): each.top[0][0]
            for seq_id, choice in zip(ids, output.choices, strict=True)
            for place, each in enumerate(choice.logprobs)
        }
        assert len(drafted) >= 5 and len({seq_id for seq_id, _, _ in drafted}) == len(ids)
        for seq_id, place, token_id in drafted:
            assert likeliest.get((seq_id, place), token_id) == token_id, (name, seq_id, place)


def test_what_another_request_computed_is_found_by_the_draft_model_too(drafts_all):
    llm = build(ITSELF, 4)
    proposer, started = llm._engine._speculation._proposer, []
    start = proposer._blocks.start

    def spy(seq):
        position = start(seq)
        if not seq.output_token_ids[1:]:
            started.append(position)
        return position

    proposer._blocks.start = spy
    params = SamplingParams(**GREEDY)
    first, again = (llm.generate([PROMPTS[0]], params)[0] for _ in range(2))
    assert started[0] == 0 and started[1] >= 16, "its full blocks"
    assert [each.metrics.num_accepted_tokens == each.metrics.num_draft_tokens for each in (first, again)]
    assert answers([first]) == answers([again])


def test_adapts_and_changes_nothing(plain, monkeypatch):
    monkeypatch.setattr(StepCosts, "at", lambda _, rows: float(rows))
    llm = build(SKIP)
    check(llm, plain, ["greedy", "seeded", "choices"])
    steps = llm.stats().speculative_steps
    assert steps["probe"] > 0 and steps["does not pay"] > steps["probe"], steps


def test_forgets_sequences_that_ended(drafts_all):
    llm = build(ITSELF, 2)
    llm.generate(PROMPTS, PARAMS["choices"])
    speculation = llm._engine._speculation
    assert not speculation._chances and not speculation._proposer._blocks._seen


def test_says_why_nothing_is_guessed(monkeypatch):
    monkeypatch.setattr(StepCosts, "at", lambda _, rows: float(rows))  # nothing is cheaper together
    llm = build(EXIT)
    llm.generate(PROMPTS[0], SamplingParams(**GREEDY))
    (output,) = llm.generate([PROMPTS[1]], SamplingParams(**GREEDY))
    said = " ".join(llm._engine.explain(output.request_id)[0])
    assert "guessing ahead (early_exit): does not pay" in said
    assert llm.stats().speculative_method == "early_exit"


def test_the_cache_of_the_draft_model_is_part_of_the_memory():
    alone, both = (LLM(str(smollm2()), **OPTIONS, speculative=each).memory for each in (None, ITSELF))
    assert both.kv[0].num_blocks == both.kv[1].num_blocks == alone.kv[0].num_blocks // 2
    assert both.kv[1].name == "draft K/V" and both.kv_bytes <= alone.kv_bytes
    assert both.drafting_bytes > both.weight_bytes and alone.drafting_bytes == 0


def test_another_vocabulary_is_refused(tmp_path, stranger, monkeypatch):
    files = open_files(smollm2())
    monkeypatch.setattr(type(files.tokenizer), "has_vocabulary_of", lambda self, other: False)
    with pytest.raises(ConfigError, match="speculative model .* has other tokens than .*though as many"):
        build(stranger)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "early_exit", "layers": 30}, "speculative layers is 30 and the model has 30"),
        ({"method": "layer_skip", "skip": [30]}, r"speculative skip is \[30\] and the model has 30 layers"),
        ({"method": "layer_skip", "skip": list(range(30))}, "leave out some that it has, and not all"),
    ],
)
def test_layers_that_are_not_there_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        build(options)
