"""Structured output on the real model: valid, the same bits with every technique on and off, and it ends."""

import json

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from benchmarks.schemas import SCHEMAS, request
from redline import LLM, SamplingParams, StructuredOutputsParams
from redline.decoding.structured.grammar_constraint import GrammarConstraint
from redline.decoding.structured.jump_ahead import JumpAhead, NoJumpAhead
from redline.decoding.structured.mask_worker import MaskWorker
from redline.engine.speculation import AdaptiveSpeculation
from redline.errors import RequestError
from tests.engine.test_speculation import Guesser, answers
from tests.model_file import smollm2

pytestmark = pytest.mark.model

OPTIONS = {"max_context": 1024, "max_batch": 16}
FORMS = {
    "schema": {"json": SCHEMAS["order"]},
    "loose": {"json": SCHEMAS["person"], "whitespace_pattern": "[ \n]{1,2}"},
    "any object": {"json_object": True},
    "regex": {"regex": "(The|A|An) ([a-z]{1,12} ){3,12}[a-z]{1,12}\\."},
    "choice": {
        "choice": ["It is a person", "It is a place", "It is something else entirely, \u00fc\u00df\U0001f600"]
    },
    "gbnf": {"grammar": 'root ::= line{3,5}\nline ::= "- " [a-zA-Z ]{4,30} "\\n"'},
    "tags": {
        "structural_tag": {
            "triggers": ["<call"],
            "structures": [{"begin": "<call>", "schema": SCHEMAS["tool call"], "end": "</call>"}],
        }
    },
}
PROMPT = [{"role": "user", "content": "Write an order of two items by a customer, with its prices, as JSON."}]


def params(forms, **more):
    return [
        SamplingParams(
            **{"temperature": 0.0, "max_tokens": 48, "logprobs": 1}
            | more
            | {"structured_outputs": StructuredOutputsParams(**form)}
        )
        for form in forms
    ]


WORK = [
    *params(FORMS.values()),
    *params([FORMS["schema"], FORMS["regex"]], temperature=0.9, seed=4),
    *params([FORMS["loose"]], repetition_penalty=1.3, n=2, seed=1, temperature=0.5),
    SamplingParams(temperature=0.0, max_tokens=48, logprobs=1),
]


@pytest.fixture(scope="module")
def llm():
    return LLM(str(smollm2()), jump_ahead=False, **OPTIONS)


@pytest.fixture(scope="module")
def expected(llm):
    """One at a time, nothing forced, nothing guessed."""
    return [answers(llm.chat([PROMPT], each))[0] for each in WORK]


def run(llm):
    return answers(llm.chat([PROMPT] * len(WORK), WORK))


def test_the_forms_hold(expected):
    for form, [(text, reason, _)] in zip(FORMS, expected, strict=False):
        if form in ("loose", "regex", "choice", "gbnf"):
            assert reason == "stop", (form, text)
    assert len(json.loads(expected[1][0][0])) == 3
    assert expected[4][0][0] in FORMS["choice"]["choice"]
    assert expected[5][0][0].count("\n") in (3, 4, 5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"jump_ahead": False},
        {"speculative": "ngram"},
        {"speculative": {"method": "history", "num_speculative_tokens": 12}, "jump_ahead": False},
        {"speculative": {"method": "early_exit", "layers": 12, "num_speculative_tokens": 3}},
        {
            "speculative": {"method": "layer_skip", "skip": [14], "num_speculative_tokens": 3},
            "jump_ahead": False,
        },
        {"chunked_prefill": 48, "kv_memory": "6MiB", "prefix_cache": False, "graph_replay": False},
    ],
    ids=str,
)
def test_bits_do_not_depend_on_what_is_switched_on(expected, options):
    llm = LLM(str(smollm2()), **OPTIONS | options)
    assert run(llm) == expected
    if options.get("jump_ahead", True):
        assert llm.stats().accepted_tokens > 30
    if "speculative" in options:
        assert run(llm) == expected  # with what is cached, and with earlier answers to guess from
    if "kv_memory" in options:
        assert llm.stats().num_preemptions > 0


@pytest.mark.parametrize("rate", [1.0, 0.6])
@pytest.mark.parametrize("jump", [JumpAhead, NoJumpAhead])
def test_guesses_that_are_right_or_break_the_grammar_change_nothing(llm, expected, monkeypatch, rate, jump):
    tokens = llm._engine.inputs.encode_chat(PROMPT)
    [[(_, _, greedy)]] = expected[:1]
    right = [*tokens, *(token_id for token_id, _ in greedy)]
    speculation = AdaptiveSpeculation(Guesser([right], rate), 8, 16)
    monkeypatch.setattr(speculation, "_lengths", lambda drafts, _: [draft.length for draft in drafts])
    monkeypatch.setattr(llm._engine, "_speculation", speculation)
    monkeypatch.setattr(llm._engine.structured, "_jump", jump())
    monkeypatch.setattr(llm._engine.structured, "_max_rows", 64)
    before = llm.stats().accepted_tokens
    assert answers(llm.chat([PROMPT], WORK[0])) == expected[:1]
    assert llm.stats().accepted_tokens - before > (20 if rate == 1.0 else 5)


def test_forced_tokens_take_no_steps_of_their_own():
    llm = LLM(str(smollm2()), **OPTIONS)
    text = json.dumps({"name": "a constant text of many tokens"})
    constant = SamplingParams(
        temperature=0.0, max_tokens=64, structured_outputs=StructuredOutputsParams(choice=[text])
    )
    [output] = llm.generate(["Hello"], constant)
    assert output.text == text and output.choices[0].finish_reason == "stop"
    metrics = output.metrics
    assert metrics.num_accepted_tokens == metrics.num_draft_tokens > 0.7 * metrics.num_output_tokens
    assert llm.stats().num_steps <= 3


def test_masks_are_computed_beside_the_forward_pass(llm, monkeypatch):
    events = []
    for owner, name in ((MaskWorker, "start"), (MaskWorker, "wait")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, real=real, name=name: (events.append(name), real(*a))[1])
    forward = llm._engine._forward
    monkeypatch.setattr(llm._engine, "_forward", lambda batch: (events.append("forward"), forward(batch))[1])
    monkeypatch.setattr(forward, "prepared", True)
    llm._engine._forward.prepared = True
    llm.chat([PROMPT], WORK[0])
    assert events[:3] == ["start", "forward", "wait"] and len(events) % 3 == 0


def test_an_answer_to_each_of_fifty_schemas_is_valid():
    llm = LLM(str(smollm2()), max_context=1024, max_batch=32)
    each = [
        SamplingParams(
            temperature=0.5, seed=7, max_tokens=512, structured_outputs=StructuredOutputsParams(json=schema)
        )
        for schema in SCHEMAS.values()
    ]
    outputs = llm.chat([request(name) for name in SCHEMAS], each)
    for (name, schema), output in zip(SCHEMAS.items(), outputs, strict=True):
        assert output.choices[0].finish_reason == "stop", (name, output.text)
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(json.loads(output.text))


def test_an_answer_that_is_cut_or_stopped_says_so(llm):
    form = StructuredOutputsParams(json=SCHEMAS["order"])
    cut, stopped = llm.chat(
        [PROMPT] * 2,
        [
            SamplingParams(temperature=0.0, max_tokens=9, structured_outputs=form),
            SamplingParams(temperature=0.0, max_tokens=64, structured_outputs=form, stop='"customer"'),
        ],
    )
    assert cut.choices[0].finish_reason == "length" and len(cut.choices[0].token_ids) == 9
    assert stopped.choices[0].finish_reason == "stop" and stopped.choices[0].stop_reason == '"customer"'
    assert stopped.text.endswith(", ")


def test_the_answer_that_ends_at_its_last_token_is_complete(llm):
    form = StructuredOutputsParams(choice=["yes"])
    [output] = llm.chat([PROMPT], SamplingParams(temperature=0.0, max_tokens=1, structured_outputs=form))
    assert (output.text, output.choices[0].finish_reason) == ("yes", "stop")


def test_bias_decides_among_what_is_allowed_and_cannot_break_it(llm):
    form = StructuredOutputsParams(choice=["yes", "no"])
    [no] = llm.tokenizer.encode("no")
    biased = SamplingParams(temperature=0.0, logit_bias={no: 100, 500: 100}, structured_outputs=form)
    assert llm.chat([PROMPT], biased)[0].text == "no"


def test_a_grammar_that_fails_on_the_way_ends_its_own_request_alone(llm, monkeypatch):
    text = "start: /[a-z ]{5}/ a0\n" + "\n".join(f"a{i}: a{i + 1} a{i + 1}" for i in range(60)) + '\na60: "a"'
    bad = SamplingParams(
        temperature=0.0, max_tokens=32, structured_outputs=StructuredOutputsParams(grammar=text)
    )
    llm._engine.add("bad", [1, 2, 3], bad)
    llm._engine.add("good", [1, 2, 3], WORK[0])
    ended = {}
    while llm._engine.has_work:
        ended |= {delta.request_id: delta for delta in llm._engine.step() if delta.last}
    assert isinstance(ended["bad"].error, RequestError)
    assert ended["bad"].error.param == "structured_outputs.grammar"
    assert ended["good"].error is None and ended["good"].metrics.num_output_tokens > 10


def test_one_wrong_form_of_a_call_is_refused_before_anything_runs(llm):
    steps = llm.stats().num_steps
    wrong = SamplingParams(structured_outputs=StructuredOutputsParams(regex="("))
    with pytest.raises(RequestError) as caught:
        llm.generate(["a", "b"], [SamplingParams(), wrong])
    assert caught.value.param == "structured_outputs.regex"
    assert llm.stats().num_steps == steps and not llm._engine.has_work


def test_requests_without_a_form_ask_no_parser(llm, monkeypatch):
    monkeypatch.setattr(GrammarConstraint, "__init__", None)
    monkeypatch.setattr(MaskWorker, "start", lambda _, work: work and pytest.fail(f"{work}"))
    llm.chat([PROMPT], SamplingParams(temperature=0.0, max_tokens=4))


def test_drafts_of_a_model_beside_forced_tokens_change_nothing(expected):
    drafting = {"method": "draft_model", "model": str(smollm2()), "num_speculative_tokens": 3}
    llm = LLM(str(smollm2()), **OPTIONS, speculative=drafting)
    assert run(llm) == expected
    assert llm.stats().accepted_tokens > 30
