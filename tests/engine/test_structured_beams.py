"""Beam search within a grammar, on the real model: every answer matches, and the best is among them."""

import json

import pytest
from jsonschema import Draft202012Validator

from benchmarks.schemas import SCHEMAS
from redline import LLM, SamplingParams, StructuredOutputsParams
from redline.decoding.structured.constraint import Allowed
from redline.decoding.structured.grammar_constraint import GrammarConstraint
from redline.errors import RequestError
from tests.model_file import smollm2

pytestmark = pytest.mark.model

QUESTION = [{"role": "user", "content": "Is a river a person, a place or a thing? Answer in one sentence."}]
CHOICES = ["It is a person", "It is a place", "It is a thing"]


@pytest.fixture(scope="module")
def llm():
    return LLM(str(smollm2()), max_context=512, max_batch=16)


def beams(form, **more):
    options = {"best_of": 3, "n": 3, "max_tokens": 64} | more
    return SamplingParams(use_beam_search=True, structured_outputs=StructuredOutputsParams(**form), **options)


def test_all_choices_are_found_in_the_order_of_their_likelihood(llm):
    """Some more than once, spelled with other tokens."""
    [output] = llm.chat(QUESTION, beams({"choice": CHOICES}, best_of=12, n=12, length_penalty=0.0))
    assert {choice.text for choice in output.choices} == set(CHOICES)
    assert len({tuple(choice.token_ids) for choice in output.choices}) == 12
    assert {choice.finish_reason for choice in output.choices} == {"stop"}
    scores = [choice.score for choice in output.choices]
    assert scores == sorted(scores, reverse=True) and scores[0] < 0
    for choice in output.choices:
        assert choice.cumulative_logprob == pytest.approx(choice.score)


def test_every_answer_matches_its_schema(llm):
    schema = SCHEMAS["person"]
    prompt = [{"role": "user", "content": "Describe a person as JSON."}]
    [output] = llm.chat(prompt, beams({"json": schema}, max_tokens=200))
    assert len({choice.text for choice in output.choices}) == 3
    for choice in output.choices:
        Draft202012Validator(schema).validate(json.loads(choice.text))


def test_the_same_alone_and_in_company(llm):
    forms = [{"choice": CHOICES}, {"regex": "(It|This) is ([a-z]{1,9} ){1,3}[a-z]{2,9}\\."}]
    alone = [llm.chat(QUESTION, beams(form))[0] for form in forms]
    plain = SamplingParams(temperature=0.0, max_tokens=24)
    together = llm.chat([QUESTION, QUESTION, QUESTION], [beams(forms[0]), plain, beams(forms[1])])
    for one, other in zip(alone, (together[0], together[2]), strict=True):
        assert [(c.text, c.score) for c in one.choices] == [(c.text, c.score) for c in other.choices]


def test_a_grammar_that_fails_on_the_way_ends_its_own_search_alone(llm, monkeypatch):
    failure = RequestError("cannot be followed", param="structured_outputs.regex")
    monkeypatch.setattr(GrammarConstraint, "allowed", lambda *_: [Allowed(None, failure)])
    with pytest.raises(RequestError, match="cannot be followed"):
        llm.chat(QUESTION, beams({"regex": "[a-z]{5}"}))
    [output] = llm.chat(QUESTION, SamplingParams(temperature=0.0, max_tokens=4))
    assert output.text and not llm._engine.has_work
    llm._engine.scheduler.check_integrity()
