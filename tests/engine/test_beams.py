"""Beam search: the answers of transformers, the same bits in any company, and few blocks."""

import itertools
import random

import numpy as np
import pytest

from redline import SamplingParams
from redline.engine.request import RequestOptions
from redline.engine.speculation import NoSpeculation
from redline.errors import RequestError
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.engine.tiny_engine import TinyEngine, answers
from tests.models import checkpoints

pytestmark = pytest.mark.oracle

VOCAB = checkpoints.SHAPE["vocab_size"]
EOS = [3, 11, 40, 41]
PROMPTS = [np.random.default_rng(seed).integers(0, VOCAB, 5 + 2 * seed).tolist() for seed in range(8)]


def load(name, folder, compute):
    path = checkpoints.save_directory(name, folder.mktemp("model") / name)
    return load_weights(path, backend("cpu"), compute)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return load("llama", tmp_path_factory, "float")


def beams(width, **options):
    return SamplingParams(use_beam_search=True, best_of=width, **{"n": width, "max_tokens": 14, **options})


def theirs(prompt, params, eos):
    """What transformers finds: (tokens, score) of each, the best first."""
    torch = pytest.importorskip("torch")
    pad = VOCAB - 1
    with torch.no_grad():
        found = checkpoints.model("llama").generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            num_beams=params.beam_width,
            num_return_sequences=params.n,
            max_new_tokens=params.max_tokens,
            min_new_tokens=params.min_tokens or None,
            length_penalty=params.length_penalty,
            early_stopping=params.early_stopping,
            eos_token_id=eos,
            pad_token_id=pad,
            return_dict_in_generate=True,
            output_scores=True,
        )
    return found.sequences[:, len(prompt) :].tolist(), found.sequences_scores.tolist(), pad


def assert_same(output, prompt, params, eos=EOS):
    sequences, scores, pad = theirs(prompt, params, eos)
    assert len(output.choices) == params.n
    for choice, sequence, score in zip(output.choices, sequences, scores, strict=True):
        length = len(choice.token_ids)
        assert sequence[:length] == choice.token_ids
        assert set(sequence[length:]) <= {pad}
        assert choice.score == pytest.approx(score, rel=1e-4)
        assert choice.finish_reason == ("stop" if choice.token_ids[-1] in eos else "length")


RULES = [
    {"width": width, "length_penalty": penalty, "early_stopping": stopping}
    for width, penalty, stopping in itertools.product((2, 5), (-1.0, 0.0, 1.0, 2.5), (False, True, "never"))
]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "-".join(map(str, rules.values())))
def test_the_answers_of_transformers(decoder, rules):
    params = beams(**rules)
    outputs = TinyEngine(decoder, 200, eos=EOS).generate(PROMPTS[:2], [params] * 2)
    for output, prompt in zip(outputs, PROMPTS, strict=False):
        assert_same(output, prompt, params)


@pytest.mark.parametrize(
    "params",
    [
        beams(4, n=1),
        beams(4, min_tokens=6),
        beams(3, ignore_eos=True),
        beams(3, max_tokens=1),
        beams(7, n=3, length_penalty=0.3, max_tokens=20),
        beams(2, ignore_eos=True, stop_token_ids=EOS),
    ],
    ids=["n", "min_tokens", "ignore_eos", "one token", "7 beams", "stop tokens"],
)
def test_other_options_as_in_transformers(decoder, params):
    outputs = TinyEngine(decoder, 200, eos=EOS).generate(PROMPTS[3:6], [params] * 3)
    eos = [] if params.ignore_eos and not params.stop_token_ids else EOS
    for output, prompt in zip(outputs, PROMPTS[3:6], strict=True):
        assert_same(output, prompt, params, eos)


MIXED = [
    beams(4),
    SamplingParams(temperature=0.0, max_tokens=18),
    beams(3, early_stopping=True, logprobs=2),
    SamplingParams(temperature=1.0, seed=4, n=3, max_tokens=12, logit_bias={5: 2.0}),
    beams(4, num_beam_groups=2, diversity_penalty=0.7),
    beams(2, ignore_eos=True, max_tokens=20),
    SamplingParams(temperature=0.7, seed=1, max_tokens=20, repetition_penalty=1.3),
    beams(4, length_penalty=2.0, early_stopping="never"),
]
COMPANY = [
    {"num_blocks": 200, "prefix_cache": False},
    {"num_blocks": 200, "chunked_prefill": 5, "max_batch": 5},
    {"num_blocks": 46, "chunked_prefill": 6, "max_batch": 9, "prefill_first": True, "prefix_cache": False},
    {"num_blocks": 46, "order": "shortest", "batching": "static", "max_batch": 6, "batch_window": 0.0},
    {"num_blocks": 46, "order": "fair", "max_batch": 6, "step_time": 3.0},
]
SHORT = [
    {"num_blocks": 28},
    {"num_blocks": 28, "max_batch": 9},
    {"num_blocks": 28, "chunked_prefill": 5},
    {"num_blocks": 28, "order": "longest_prefix"},
    {"num_blocks": 40, "prefix_cache": False},
    {"num_blocks": 40, "prefix_cache": False, "prefill_first": True},
]


@pytest.fixture(scope="module")
def alone(decoder):
    return [
        answers(TinyEngine(decoder, 200, eos=EOS, prefix_cache=False).generate([prompt], [params])[0])
        for prompt, params in zip(PROMPTS, MIXED, strict=True)
    ]


def run_mixed(decoder, options, rounds=2):
    """All requests, several times over and at different places at any moment."""
    tiny = TinyEngine(decoder, eos=EOS, **options)
    for _ in range(rounds):
        for prompt, params in zip(PROMPTS, MIXED, strict=True):
            tiny.add(prompt, params)
        tiny.step()
    return [answers(output) for output in tiny.run()], tiny.engine.stats().num_preemptions


@pytest.mark.parametrize("options", COMPANY, ids=lambda options: "-".join(map(str, options.values())))
def test_the_same_bits_in_any_company(decoder, alone, options):
    assert run_mixed(decoder, options)[0] == alone * 2


@pytest.mark.parametrize("options", SHORT, ids=lambda options: "-".join(map(str, options.values())))
def test_the_same_bits_when_memory_is_short(decoder, alone, options):
    got, num_preemptions = run_mixed(decoder, options)
    assert got == alone * 2
    assert num_preemptions > 0


@pytest.mark.parametrize("seed", range(8))
def test_the_same_bits_with_arrivals_at_random(decoder, alone, seed):
    draw = random.Random(seed)
    options = {
        "num_blocks": draw.randrange(40, 60),
        "max_batch": draw.randrange(4, 12),
        "chunked_prefill": draw.choice([None, 4, 9]),
        "prefix_cache": draw.random() < 0.5,
    }
    tiny, sent = TinyEngine(decoder, eos=EOS, **options), []
    for _ in range(10):
        sent.append(draw.randrange(len(MIXED)))
        tiny.add(PROMPTS[sent[-1]], MIXED[sent[-1]], RequestOptions(priority=draw.randrange(2)))
        for _ in range(draw.choice([0, 0, 1, 5])):
            tiny.step()
    assert [answers(output) for output in tiny.run()] == [alone[index] for index in sent]


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_windows_and_little_memory_change_nothing(tmp_path_factory, prefix_cache):
    decoder = load("gemma3", tmp_path_factory, "int8")
    params = [beams(3, max_tokens=24)] * 4
    wide = TinyEngine(decoder, 300).generate(PROMPTS[:4], params)
    tight = TinyEngine(decoder, 30, prefix_cache=prefix_cache)
    assert [*map(answers, tight.generate(PROMPTS[:4], params))] == [*map(answers, wide)]
    assert tight.engine.stats().num_preemptions > 0


def test_pins_give_way_to_a_beam_that_others_wait_for(decoder):
    """Four beams that share nothing but their prompt fit the memory only without what is pinned."""
    tiny = TinyEngine(decoder, 37)
    tiny.add((PROMPTS[7] * 4)[:60], SamplingParams(max_tokens=1), RequestOptions(pin_s=80_000))
    while tiny.engine.has_work:
        tiny.step()
    assert tiny.num_used == 15
    apart = beams(4, max_tokens=28, num_beam_groups=4, diversity_penalty=100.0)
    tiny.add(PROMPTS[0], apart)
    assert answers(tiny.run()[-1]) == answers(TinyEngine(decoder, 200).generate([PROMPTS[0]], [apart])[0])
    assert tiny.engine.stats().num_preemptions > 0


def test_the_pin_of_a_prompt_counts_from_the_end_of_its_search(decoder):
    tiny = TinyEngine(decoder, 60)
    tiny.add(PROMPTS[7], beams(4), RequestOptions(pin_s=80_000))
    while tiny.engine.has_work:
        assert not list(tiny.engine.scheduler.pins.blocks())
        tiny.step()
    assert len(list(tiny.engine.scheduler.pins.blocks())) == len(PROMPTS[7]) // 4


@pytest.mark.parametrize("steps", range(8))
def test_an_abort_frees_all_beams(decoder, steps):
    tiny = TinyEngine(decoder, 40, eos=EOS)
    name = tiny.add(PROMPTS[5], beams(4))
    for _ in range(steps):
        tiny.step()
    tiny.engine.abort(name)
    tiny.engine.scheduler.check_integrity()
    assert not tiny.num_used and not tiny.engine.has_work
    assert tiny.engine.ledger.counts().aborted == 1
    assert answers(TinyEngine(decoder, 40, eos=EOS).generate([PROMPTS[5]], [beams(4)])[0])


def test_a_failed_step_changes_nothing(decoder, alone):
    tiny = TinyEngine(decoder, 60, eos=EOS)
    tiny.add(PROMPTS[0], MIXED[0])
    forward = tiny.engine._forward
    for count in range(12):
        tiny.engine._forward = None if count % 3 == 2 else forward
        try:
            tiny.step()
        except TypeError:
            continue
    tiny.engine._forward = forward
    assert answers(tiny.run()[0]) == alone[0]


def test_a_model_that_gives_no_numbers_ends_the_request_alone(decoder, alone):
    tiny = TinyEngine(decoder, 100, eos=EOS)
    tiny.add(PROMPTS[0], MIXED[0])
    tiny.add(PROMPTS[1], MIXED[1])
    forward = tiny.engine._forward

    def spoiled(batch):
        logits_RV = forward(batch)
        logits_RV[0] = np.nan
        return logits_RV

    spoiled.prepared = False
    tiny.step()
    tiny.engine._forward = spoiled
    tiny.step()
    tiny.engine._forward = forward
    while tiny.engine.has_work:
        tiny.step()
    spoiled_one, other = tiny._collectors.values()
    with pytest.raises(RequestError, match="no usable distribution"):
        spoiled_one.output()
    assert answers(other.output()) == alone[1]


def test_fewer_answers_than_wanted_are_an_error(decoder):
    tiny = TinyEngine(decoder, 100, eos=range(VOCAB))
    tiny.add(PROMPTS[0], beams(4, min_tokens=2))
    with pytest.raises(RequestError, match="n is 4") as caught:
        tiny.run()
    assert caught.value.param == "n"


@pytest.mark.parametrize(
    "options, words",
    [
        ({"num_blocks": 100, "max_batch": 3}, "max_batch"),
        ({"num_blocks": 100, "chunked_prefill": 3}, "chunked_prefill"),
        ({"num_blocks": 14}, "kv_memory"),
        ({"num_blocks": 20, "prefix_cache": False}, "kv_memory"),
    ],
)
def test_more_beams_than_ever_fit_are_refused_by_name(decoder, options, words):
    tiny = TinyEngine(decoder, eos=EOS, **options)
    with pytest.raises(RequestError, match=words) as caught:
        tiny.add(PROMPTS[3], beams(4))
    assert caught.value.param == "best_of"
    tiny.add(PROMPTS[3], beams(2))
    tiny.run()


@pytest.mark.parametrize("prefix_cache, num_blocks", [(True, 24), (False, 36)])
def test_the_smallest_memory_that_is_accepted_is_enough(decoder, alone, prefix_cache, num_blocks):
    least = None
    for blocks in range(num_blocks, 6, -1):
        tiny = TinyEngine(decoder, blocks, eos=EOS, prefix_cache=prefix_cache)
        try:
            tiny.add(PROMPTS[0], MIXED[0])
        except RequestError:
            break
        least = blocks
        tiny.add(PROMPTS[1], SamplingParams(temperature=0.0, max_tokens=4))
        tiny.add(PROMPTS[0], MIXED[0])
        assert [answers(output) for output in tiny.run()][::2] == [alone[0]] * 2
    assert least is not None and blocks < least


def test_an_open_end_leaves_room_for_all_beams(decoder):
    tiny = TinyEngine(decoder, 24)
    [output] = tiny.generate([PROMPTS[0]], [beams(3, max_tokens=None)])
    assert 10 < len(output.choices[0].token_ids) < 64 - len(PROMPTS[0])


def test_log_probabilities_add_up(decoder):
    [output] = TinyEngine(decoder, 100, eos=EOS).generate([PROMPTS[2]], [beams(3, logprobs=2)])
    for choice in output.choices:
        assert [token.token_id for token in choice.logprobs] == choice.token_ids
        total = sum(token.logprob for token in choice.logprobs)
        assert choice.cumulative_logprob == pytest.approx(total)
        assert choice.score == pytest.approx(total / len(choice.token_ids))
        for token in choice.logprobs:
            assert len(token.top) == 2 and token.rank >= 1
            assert (token.rank > 2) or token.top[token.rank - 1] == (token.token_id, token.logprob)
    scores = [choice.score for choice in output.choices]
    assert scores == sorted(scores, reverse=True)


def test_tokens_come_at_the_end_one_delta_per_choice(decoder):
    tiny = TinyEngine(decoder, 100, eos=EOS)
    tiny.add(PROMPTS[0], beams(4, n=2))
    deltas = []
    while tiny.engine.has_work:
        assert not deltas
        deltas = tiny.engine.step()
    assert [delta.index for delta in deltas] == [0, 1]
    assert [delta.metrics is not None for delta in deltas] == [False, True]
    metrics = deltas[-1].metrics
    assert metrics.num_output_tokens == sum(len(delta.token_ids) for delta in deltas)
    assert metrics.e2e_s >= metrics.ttft_s + sum(metrics.itl_s)


def test_a_request_ends_with_its_search_not_with_its_best_answer(decoder):
    [output] = TinyEngine(decoder, 100, eos=EOS).generate([PROMPTS[0]], [beams(4, n=1)])
    assert len(output.choices[0].token_ids) == 2
    assert output.metrics.e2e_s > output.metrics.ttft_s + sum(output.metrics.itl_s)


def test_speculation_leaves_beams_alone(decoder, alone):
    drafts = []
    tiny = TinyEngine(decoder, 200, eos=EOS)

    class Always(NoSpeculation):
        """Guesses the token 1 for everybody it is asked about."""

        def drafts(self, seqs):
            running = [
                seq for seq in seqs if seq.num_uncomputed_tokens == 1 and seq.status.value == "running"
            ]
            drafts.append({seq.seq_id: [1, 1] for seq in running})
            return drafts[-1]

    tiny.engine._speculation = Always()
    for prompt, params in zip(PROMPTS, MIXED, strict=True):
        tiny.add(prompt, params)
    assert [answers(output) for output in tiny.run()] == alone
    assert any(drafts)
