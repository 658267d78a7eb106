"""Token trees: the same bits as without, and tokens that only a branch had."""

import random

import pytest

from redline import LLM, SamplingParams, StructuredOutputsParams
from redline.decoding.speculative.tree import distinct
from redline.engine import speculation
from redline.engine.speculation import AdaptiveSpeculation
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.engine import test_speculation
from tests.engine.test_speculation import OPTIONS, Guesser, build, check, computes_all, plain
from tests.engine.tiny_engine import TinyEngine, answers
from tests.model_file import smollm2
from tests.models import checkpoints

pytestmark = pytest.mark.model
assert computes_all and plain  # fixtures
VOCAB = checkpoints.SHAPE["vocab_size"]
COMMON = {"max_tokens": 24, "ignore_eos": True, "logprobs": 1}
PARAMS = [
    SamplingParams(**COMMON, temperature=0.0),
    SamplingParams(**COMMON, temperature=1.0, top_p=0.9, seed=4),
    SamplingParams(**COMMON, temperature=0.8, seed=5, n=3),
    SamplingParams(**COMMON, temperature=0.0, repetition_penalty=1.3, frequency_penalty=0.2),
    SamplingParams(**COMMON, seed=6, mirostat=2, mirostat_tau=2.0, mirostat_eta=0.5),
    SamplingParams(**COMMON, temperature=0.0, dry_multiplier=0.7, stop_token_ids=[7], min_tokens=6),
    SamplingParams(max_tokens=12, ignore_eos=True, use_beam_search=True, temperature=0.0, best_of=3, n=2),
]
PROMPTS = [
    [(7 * index + place * place) % VOCAB for place in range(9 + index)] for index in range(len(PARAMS))
]


class Liar(Guesser):
    """Of three continuations one is right, seldom the first; they part somewhere."""

    def start(self, token_ids, owner):
        drafter = Liar(self.right, self.rate)
        drafter.tokens, drafter.draw = list(token_ids), random.Random(len(token_ids))
        return drafter

    def propose_tree(self, most, count):
        known = len(self.tokens)
        whole = next((each for each in self.right if each[:known] == self.tokens), self.tokens)
        right = whole[known : known + self.draw.randint(0, most)]
        wrong = [
            [token if self.draw.random() < self.rate else (token + 1) % VOCAB for token in right]
            for _ in range(2)
        ]
        return distinct(self.draw.sample([right, *wrong], 3), count) if right else []


@pytest.fixture
def computes_branches(monkeypatch, computes_all):
    def lengths(forks, expected, num_rows, max_rows, cost):
        return [fork.length for fork in forks]

    monkeypatch.setattr(speculation, "branch_lengths", lengths)


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def decoder(request, tmp_path_factory):
    path = checkpoints.save_directory(request.param, tmp_path_factory.mktemp("model") / request.param)
    return load_weights(path, backend("cpu"), "int8")


@pytest.fixture(scope="module")
def alone(decoder):
    return [
        TinyEngine(decoder, 100, prefix_cache=False).generate([prompt], [params])[0]
        for prompt, params in zip(PROMPTS, PARAMS, strict=True)
    ]


@pytest.mark.parametrize(
    "num_blocks, options",
    [
        (300, {}),
        (300, {"prefix_cache": False, "chunked_prefill": 60, "block_size": 3}),
        (24, {}),  # preempts
        (24, {"prefix_cache": False, "max_batch": 4}),
    ],
    ids=str,
)
@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_answers_are_those_of_sequences_that_nobody_guesses_for(
    decoder, alone, computes_branches, num_blocks, options, rate
):
    tiny = TinyEngine(decoder, num_blocks, trace_events=10_000, **options)
    right = [[*output.prompt_token_ids, *choice.token_ids] for output in alone for choice in output.choices]
    tiny.engine._speculation = AdaptiveSpeculation(Liar(right, rate), 6, 64, num_branches=3)
    got = tiny.generate(PROMPTS, PARAMS)
    assert [*map(answers, got)] == [*map(answers, alone)]
    assert scores(got) == scores(alone)
    stats = tiny.engine.stats()
    assert (stats.num_preemptions > 0) == (num_blocks == 24)
    assert num_from_branches(tiny.engine) > (0 if options or num_blocks == 24 else 20)
    assert stats.accepted_tokens < stats.draft_tokens


def scores(outputs):
    """The bits of each token's log-probability."""
    return [
        [each.logprob for each in choice.logprobs or []] for output in outputs for choice in output.choices
    ]


def num_from_branches(engine):
    """Tokens that the drafts of the items did not have."""
    return sum(event.values[0] for event in engine.scheduler.trace.events() if event.kind == "branch")


@pytest.mark.parametrize(
    "method, options",
    [("ngram", {}), ("history", {"kv_memory": "4MiB", "max_context": 160, "graph_replay": False})],
)
def test_other_occurrences_change_nothing(plain, computes_branches, method, options):
    speculative = {"method": method, "num_speculative_tokens": 5, "num_branches": 3, "min_match": 1}
    llm = build(speculative=speculative, trace_events=100_000, **options)
    check(llm, plain, ["greedy", "choices"])
    assert num_from_branches(llm._engine) > 5


def test_beside_grammars_which_have_no_branches(computes_branches):
    form = StructuredOutputsParams(regex="((The|A) (fox|dog) (sleeps|barks)\\. ){6,9}")
    params = [SamplingParams(temperature=0.8, seed=3, max_tokens=40, structured_outputs=form), PARAMS[0]]
    prompts = [test_speculation.PROMPTS[0], AMBIGUOUS]
    expected = LLM(str(smollm2()), **OPTIONS).generate(prompts, params)
    llm = build(speculative={"method": "ngram", "num_branches": 3, "min_match": 1}, trace_events=10_000)
    branched, schedule = set(), llm._engine.scheduler.schedule

    def spy(drafts, branches):
        plan = schedule(drafts, branches)
        branched.update(branch.seq.params.structured_outputs is None for branch in plan.branches)
        return plan

    llm._engine.scheduler.schedule = spy
    assert [each.choices[0].token_ids for each in llm.generate(prompts, params)] == [
        each.choices[0].token_ids for each in expected
    ]
    assert branched == {True}


def test_adapts_and_changes_nothing(plain):
    check(build(speculative={"method": "ngram", "num_branches": 2}), plain, ["greedy", "penalties"])


AMBIGUOUS = (
    "The cat sat on the mat. The dog sat on the rug. The cat saw the dog. The dog saw the cat. "
    "The cat ran to the rug. The dog ran to the mat. "
)


def tokens_per_step(num_branches):
    speculative = {"method": "ngram", "num_speculative_tokens": 5, "num_branches": num_branches}
    llm = build(speculative=speculative)
    params = SamplingParams(temperature=0.0, max_tokens=120, ignore_eos=True)
    [output] = llm.generate([AMBIGUOUS], params)
    return output.choices[0].token_ids, (120 - 1) / (llm._engine.num_steps - 1)


def test_a_second_guess_takes_fewer_steps(computes_branches):
    (first, with_one), (second, with_two) = tokens_per_step(1), tokens_per_step(2)
    assert first == second
    assert with_two > 1.3 * with_one
