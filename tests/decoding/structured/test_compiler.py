"""What each form lets through, what is refused and how, and what is kept."""

import json
import os
import random
import re
import unicodedata
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from redline import StructuredOutputsParams
from redline.decoding.structured import compiler
from redline.decoding.structured.compiler import GrammarCompiler
from redline.decoding.structured.constraint import UNCONSTRAINED
from redline.errors import RequestError
from tests.decoding.structured.letters import CONTROL, END, SIZE, Letters, allowed_ids, walk

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "size": {"type": "integer", "minimum": 3, "maximum": 12},
        "tags": {"type": "array", "items": {"enum": ["a", "bc", None]}, "maxItems": 3},
    },
    "required": ["name", "size"],
    "additionalProperties": False,
}
TAG = {
    "triggers": ["<f"],
    "structures": [{"begin": "<f=1>", "schema": {"type": "object", "maxProperties": 0}, "end": "</f>"}],
}


@pytest.fixture(scope="module")
def grammars():
    return GrammarCompiler(Letters(), SIZE)


def start(grammars, **form):
    return grammars.constraint(StructuredOutputsParams(**form))


def matches_schema(text):
    Draft202012Validator(PERSON).validate(json.loads(text))
    return text == json.dumps(json.loads(text), ensure_ascii=False)


@pytest.mark.parametrize(
    ("form", "matches"),
    [
        ({"json": PERSON}, matches_schema),
        (
            {"json": PERSON, "whitespace_pattern": "[ \n]{1,2}"},
            lambda text: re.search(r'"size"[ \n]{0,2}:[ \n]{0,2}[0-9]', text),
        ),
        ({"regex": "[a-c]{2,5}x?(12|34)+"}, lambda text: re.fullmatch("[a-c]{2,5}x?(12|34)+", text)),
        (
            {"choice": ["yes", "no", 'a "b"\n\\\u00fc\x01/']},
            {"yes", "no", 'a "b"\n\\\u00fc\x01/'}.__contains__,
        ),
        (
            {"grammar": 'root ::= "a" [0-9]{2,3} ("x" | "y")'},
            lambda text: re.fullmatch("a[0-9]{2,3}[xy]", text),
        ),
        ({"grammar": 'start: A | A "," start\nA: "ab"+'}, lambda text: re.fullmatch("(ab)+(,(ab)+)*", text)),
        ({"json": {"anyOf": [{"const": None}, {"const": True}]}}, {"null", "true"}.__contains__),
    ],
)
def test_all_that_comes_out_matches(grammars, form, matches):
    texts = [walk(start(grammars, **form), random.Random(seed)) for seed in range(20)]
    ended = [text for text in texts if text is not None]
    assert len(ended) >= 10
    assert all(matches(text) for text in ended), ended


def test_free_text_turns_into_its_structure_at_a_trigger(grammars):
    constraint = start(grammars, structural_tag=TAG)
    for byte in b"some text <f":
        assert {byte, END, ord("!")} <= set(allowed_ids(constraint)[0])
        constraint.push(byte)
    forced = []
    while END not in allowed_ids(constraint)[0]:
        [token_id] = allowed_ids(constraint)[0]
        forced.append(token_id)
        constraint.push(token_id)
    assert b"".join(Letters.tokens[each] for each in forced) == b"=1>{}</f>"
    assert set(b"anything") <= set(allowed_ids(constraint)[0])


def test_a_trigger_that_is_a_control_token_is_that_token(grammars):
    structure = {"begin": "<|tool|>", "schema": {"const": 1}, "end": ""}
    constraint = start(grammars, structural_tag={"triggers": ["<|tool|>"], "structures": [structure]})
    assert CONTROL in allowed_ids(constraint)[0]
    constraint.push(CONTROL)
    assert allowed_ids(constraint) == [[ord("1")]]


def test_text_may_spell_a_control_token_but_not_contain_one(grammars):
    constraint = start(grammars, json={"type": "string"})
    for byte in b'"<|tool':
        constraint.push(byte)
    [token_ids] = allowed_ids(constraint)
    assert ord("|") in token_ids and CONTROL not in token_ids and END not in token_ids


def test_the_end_is_allowed_where_the_form_is_complete_and_alone_ends_it(grammars):
    constraint = start(grammars, regex="ab?")
    assert not constraint.ended
    constraint.push(ord("a"))
    assert allowed_ids(constraint) == [[ord("b"), END]]
    assert not constraint.ended
    constraint.push(ord("b"))
    assert constraint.ended


def test_masks_depend_on_the_tokens_alone(grammars):
    """Not on forced(), on drafts that were right or wrong, on copies, or on what others have had."""
    for seed, form in enumerate(
        [{"json": PERSON}, {"regex": "(ab|name){3}: (null|true)"}, {"grammar": 'root ::= "abc" root? "n"'}]
    ):
        draw = random.Random(seed)
        plain, used = (
            start(grammars, **form),
            GrammarCompiler(Letters(), SIZE).constraint(StructuredOutputsParams(**form)),
        )
        for _ in range(60):
            if plain.ended:
                break
            if draw.random() < 0.5:
                used.forced()
            if draw.random() < 0.3:
                used = used.copy()
            drafts = (
                used.forced()[: draw.randrange(5)]
                if draw.random() < 0.5
                else [draw.randrange(SIZE) for _ in range(3)]
            )
            drafts = drafts[: used.accepts(drafts)]
            [token_ids], [again, *ahead] = allowed_ids(plain), allowed_ids(used, drafts)
            assert again == token_ids
            for draft, places in zip(drafts, [again, *ahead], strict=False):
                assert used.forced()[:1] != [draft] or places == [draft]
            token_id = draw.choice(token_ids)
            plain.push(token_id)
            used.push(token_id)
            assert plain.ended == used.ended


def test_forced_tokens_are_the_only_ones_at_their_places(grammars):
    constraint = start(
        grammars, json={"type": "object", "properties": {"name": {"const": "abc"}}, "required": ["name"]}
    )
    forced = constraint.forced()
    assert b"".join(Letters.tokens[each] for each in forced).startswith(b'{"name": "a')
    assert allowed_ids(constraint, forced)[: len(forced)] == [[token_id] for token_id in forced]


def test_a_long_forced_text_is_forced_to_its_end(grammars):
    text = "".join(random.Random(1).choices("abcname ", k=5000))
    constraint, ids = start(grammars, choice=[text]), []
    while not constraint.ended:
        forced = constraint.forced() or allowed_ids(constraint)[0]
        ids += forced
        for token_id in forced:
            constraint.push(token_id)
    assert b"".join(Letters.tokens[each] for each in ids).decode() == text


def test_a_tokenizer_that_normalises_does_not_change_what_is_forced():
    class Normalising(Letters):
        def encode_continuation(self, text):
            return super().encode_continuation(unicodedata.normalize("NFC", text))

    decomposed = "name u\u0308 abc"
    constraint = GrammarCompiler(Normalising(), SIZE).constraint(StructuredOutputsParams(choice=[decomposed]))
    assert walk(constraint, random.Random(1)) == decomposed


UNSATISFIABLE = [
    {"json": {"enum": []}},
    {"json": "false"},
    {"json": {"type": "integer", "minimum": 5, "maximum": 3}},
    {"json": {"allOf": [{"type": "string"}, {"type": "integer"}]}},
    {"json": {"type": "string", "pattern": "^a{5}$", "maxLength": 3}},
    {"json": {"type": "array", "items": False, "minItems": 1}},
    {"json": {"$ref": "#"}},
    {
        "json": {
            "$ref": "#/$defs/a",
            "$defs": {
                "a": {
                    "type": "object",
                    "properties": {"a": {"$ref": "#/$defs/a"}},
                    "required": ["a"],
                    "additionalProperties": False,
                }
            },
        }
    },
    {"regex": "[^\\s\\S]"},
    {"grammar": 'start: "a" start'},
]
UNKNOWN = [
    {"json": {"type": "unicorn"}},
    {"json": {"not": {"type": "string"}}},
    {"json": {"not": {"type": "string"}, "x-guidance": {"lenient": True}}},
    {"json": {"$ref": "http://localhost/x.json"}},
    {"json": {"type": "string", "format": "unicorn"}},
    {"json": {"oneOf": [{"type": "integer"}, {"minimum": 3}]}},
    {"json": {"type": "string", "pattern": "(?=a)b"}},
    {"regex": "(a"},
    {"regex": "(a)\\1"},
    {"grammar": "start: foo"},
    {"grammar": "foo ::= bar"},
    {"grammar": "start: A\nA[temperature=0.5]: /a/"},
    {"grammar": "no grammar at all"},
    {"structural_tag": {"triggers": ["<x"], "structures": TAG["structures"]}},
    {"structural_tag": {"triggers": ["<f"], "structures": []}},
    {"structural_tag": {"triggers": ["<f"], "structures": [{"begin": "<f"}]}},
    {"structural_tag": {"triggers": 1, "structures": TAG["structures"]}},
]
TOO_MUCH = [
    {"json": '{"items":' * 5000 + "{}" + "}" * 5000},
    {
        "json": {
            "allOf": [
                {
                    "anyOf": [
                        {"properties": {f"a{i}": {"type": "string"}}},
                        {"properties": {f"b{i}": {"type": "null"}}},
                    ]
                }
                for i in range(30)
            ]
        }
    },
    {"json": {"type": "string", "pattern": "^(((a{100}){100}){100}){100}$"}},
    {"json": {"type": "integer", "multipleOf": 999999937}},
    {"regex": "(((a{100}){100}){100}){100}"},
    {"regex": "a{1000000000}"},
    {"regex": "a?" * 5000 + "a" * 5000},
    {"regex": "(" * 30_000 + "a" + ")" * 30_000},
    {"grammar": "start: " + "(" * 30_000 + '"a"' + ")" * 30_000},
    {"grammar": "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000},
    {"grammar": "start: A0\n" + "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(60)) + '\nA60: "a"'},
    {"grammar": "start: a0\n" + "\n".join(f"a{i}: a{i + 1} a{i + 1}" for i in range(60)) + '\na60: "a"'},
    {"json": {"type": "string", "minLength": 10**9, "pattern": "^((a+)+)+$"}},
]


@pytest.mark.parametrize("form", [*UNSATISFIABLE, *UNKNOWN, *TOO_MUCH], ids=lambda form: str(form)[:60])
def test_what_cannot_be_used_is_refused_by_name(grammars, form):
    params = None
    with pytest.raises(RequestError) as caught:
        params = StructuredOutputsParams(**form)
        grammars.constraint(params)
    assert caught.value.param == f"structured_outputs.{next(iter(form))}"
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


BIG = [
    {"json": {"enum": [f"v{i}" for i in range(6000)]}},
    {"json": {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}}},
    {"json": {"type": "array", "items": {"type": "array", "minItems": 10**5}, "minItems": 10**18}},
    {"grammar": "start: A\nA: " + " & ".join(f"~/.*{c}{d}.*/" for c in "abcdefghij" for d in "abcdefghij")},
    {"regex": ".*a.{30}"},
    {"regex": "(a|aa|aaa|aaaa)*b"},
    {"regex": "(a*)*" * 500},
    {"grammar": 'start: e\ne: e e | e e e | "a" | "aa" | "aaa"'},
]


@pytest.mark.parametrize("form", BIG, ids=lambda form: str(form)[:60])
def test_what_blows_up_elsewhere_is_followed_here_or_fails_by_name(grammars, form):
    constraint, draw = start(grammars, **form), random.Random(2)
    for _ in range(50):
        if (failure := constraint.copy().allowed(())[0].failure) is not None:
            assert failure.param == f"structured_outputs.{next(iter(form))}" and len(str(failure)) < 500
            break
        constraint.push(draw.choice(allowed_ids(constraint)[0]))
        if constraint.ended:
            break


def test_what_is_compiled_is_kept_and_states_are_not_shared():
    grammars = GrammarCompiler(Letters(), SIZE)
    first, second = start(grammars, regex="ab"), start(grammars, regex="ab")
    assert grammars.num_compiled == 1
    first.push(ord("a"))
    copy = first.copy()
    copy.push(ord("b"))
    assert copy.ended and not first.ended
    assert allowed_ids(first) == [[ord("b")]]
    assert allowed_ids(second) == [[Letters.tokens.index(b"ab")]]


@pytest.mark.parametrize("limit", ["MAX_GRAMMARS", "MAX_SOURCE_BYTES"])
def test_the_least_recently_used_goes(monkeypatch, limit):
    monkeypatch.setattr(compiler, limit, {"MAX_GRAMMARS": 2, "MAX_SOURCE_BYTES": 4}[limit])
    grammars = GrammarCompiler(Letters(), SIZE)
    for regex in ("aa", "bb", "aa", "cc", "aa", "bb"):
        start(grammars, regex=regex)
    assert grammars.num_compiled == 4  # bb went for cc, and came again


def test_a_new_schema_each_time_takes_no_more_memory():
    """A cache of grammars that grows was a way to stop a server (CVE-2025-29770)."""
    grammars = GrammarCompiler(Letters(), SIZE)

    def compile_many(first, last):
        for number in range(first, last):
            schema = {"enum": [f"value {number} of {other}" for other in range(60)]}
            grammars.constraint(StructuredOutputsParams(json=schema))

    compile_many(0, 200)
    before = resident_mib()
    compile_many(200, 900)
    assert resident_mib() - before < 4


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_limit_that_is_met_on_the_way_fails_that_answer_alone():
    grammars = GrammarCompiler(Letters(), SIZE)
    form = {
        "grammar": 'start: "x" | "y" a0\n'
        + "\n".join(f"a{i}: a{i + 1} a{i + 1}" for i in range(60))
        + '\na60: "a"'
    }
    one, other = start(grammars, **form), start(grammars, **form)
    assert one.accepts([ord("y")]) == 1
    for constraint, byte in ((one, b"y"), (other, b"x")):
        constraint.push(byte[0])
    for _ in range(9):
        if (allowed := one.allowed(())[0]).failure is not None:
            break
        one.push(ord("a"))
    assert allowed.failure is not None and allowed.failure.param == "structured_outputs.grammar"
    assert not allowed.mask_W.any()
    assert one.copy().allowed(())[0].failure is not None
    assert not one.ended and other.ended
    start(grammars, **form)
    assert grammars.num_compiled == 2  # what met a limit is not used again


def test_a_model_without_an_end_is_refused():
    class Endless(Letters):
        eos_token_ids = frozenset()

    with pytest.raises(RequestError, match="end-of-sequence") as caught:
        start(GrammarCompiler(Endless(), SIZE), regex="a")
    assert caught.value.param == "structured_outputs"


def test_nothing_asked_for_is_no_constraint():
    grammars = GrammarCompiler(Letters(), SIZE)
    assert grammars.constraint(None) is UNCONSTRAINED
    assert UNCONSTRAINED.copy() is UNCONSTRAINED and not UNCONSTRAINED.ended
    assert len(UNCONSTRAINED.allowed([1, 2])) == 3
