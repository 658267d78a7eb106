from __future__ import annotations

import itertools
import re
import statistics

import pytest

from redline.bench.workloads import NAMES, build
from redline.bench.workloads.text import cut_by
from redline.errors import ConfigError

MEDIAN_INPUT = {"chat": 110, "summarise": 800, "code": 400, "shared-prefix": 1080, "agent": 1000,
                "long-document": 4000, "mix": 170}  # fmt: skip


class Words:
    """A tokenizer whose tokens are words with what stands before them."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._words: list[str] = []

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = []
        for word in re.findall(r"\s*\S+\s*\Z|\s*\S+|\s+", text):
            if word not in self._known:
                self._known[word] = len(self._words)
                self._words.append(word)
            ids.append(self._known[word])
        return ids

    def decode(self, token_ids: list[int]) -> str:
        return "".join(self._words[token_id] for token_id in token_ids)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_requests_and_another_seed_others(name: str) -> None:
    one = build(name, seed=3, num_requests=6)
    assert one.digest == build(name, seed=3, num_requests=6).digest
    assert one.digest != build(name, seed=4, num_requests=6).digest


@pytest.mark.parametrize("name", NAMES)
def test_repeats_have_the_same_sizes_and_other_texts(name: str) -> None:
    words = Words()
    one, other = (build(name, words, num_requests=6, repeat=repeat) for repeat in (0, 1))
    assert [each.output_tokens for each in one.requests] == [each.output_tokens for each in other.requests]
    assert not set(one.prompts) & set(other.prompts)
    sizes = [[len(words.encode(prompt)) for prompt in each.prompts] for each in (one, other)]
    assert all(abs(a - b) <= 0.05 * a + 16 for a, b in zip(*sizes, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_prompts_have_the_length_that_the_name_promises(name: str) -> None:
    words = Words()
    lengths = [len(words.encode(prompt)) for prompt in build(name, words).prompts]
    assert 0.6 * MEDIAN_INPUT[name] < statistics.median(lengths) < 1.6 * MEDIAN_INPUT[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_tokens", [512, 2048])
def test_prompt_and_answer_fit_the_context(name: str, max_tokens: int) -> None:
    words = Words()
    for request in build(name, words, num_requests=12, max_tokens=max_tokens, scale=3.0).requests:
        template = 8 * len(request.messages)
        assert len(words.encode(request.prompt)) + template + request.output_tokens <= max_tokens


def test_what_is_shared_is_shared_and_the_rest_begins_differently() -> None:
    shared = build("shared-prefix", num_requests=8).prompts
    assert all(prompt[:4000] == shared[0][:4000] for prompt in shared)
    assert len({prompt[-200:] for prompt in shared}) == 8
    assert len({prompt[:150] for prompt in build("mix", num_requests=200).prompts}) == 200


def test_the_context_of_an_agent_grows_by_what_was_said() -> None:
    (session,) = build("agent", num_requests=6).sessions
    assert len(session) == 6
    for before, after in itertools.pairwise(session):
        assert after.prompt.startswith(before.prompt) and len(after.messages) == len(before.messages) + 2
        assert after.messages[-1]["role"] == "user"


def test_rounds_go_turn_by_turn() -> None:
    workload = build("agent", num_requests=12)
    rounds = workload.rounds()
    assert [len(each) for each in rounds] == [2] * 6
    assert rounds[1] == [session[1] for session in workload.sessions]


def test_requests_are_rounded_up_to_whole_sessions() -> None:
    assert len(build("agent", num_requests=7).requests) == 12
    assert len(build("chat", num_requests=7).requests) == 7


def test_the_mix_has_a_heavy_tail() -> None:
    lengths = sorted(len(prompt) for prompt in build("mix", num_requests=400).prompts)
    assert lengths[360] > 3.5 * lengths[200]


def test_without_a_tokenizer_four_characters_are_a_token() -> None:
    assert cut_by(None)("abcdefghijkl", 2) == "abcdefgh"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "poem"}, "workload is 'poem'; the workloads are chat, summarise"),
        ({"name": "chat", "num_requests": 0}, "requests is 0"),
        ({"name": "chat", "scale": 0}, "scale is 0"),
        ({"name": "chat", "max_tokens": 100}, "max_tokens is 100; workloads need a context of at least 512"),
    ],
)
def test_wrong_options_are_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(**options)
