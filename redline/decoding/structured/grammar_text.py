"""grammar_text(): what a request asks for, as a grammar in the parser's own words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from redline.config.structured import StructuredOutputsParams
from redline.decoding.structured.vocabulary import Vocabulary

# As json.dumps writes it: nothing to choose between the parts, so that most of them are forced.
ON_ONE_LINE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
STRICT: Any = {"lenient": False}  # what is not enforced is refused, whatever a schema tells the parser
# Of a rule's attributes the sampler does not know this one; it would be ignored.
_TEMPERATURE = re.compile(r"(?m)^\s*[\w-]+\s*\[[^\]\n]*\btemperature\s*=")


def grammar_text(params: StructuredOutputsParams, vocabulary: Vocabulary) -> str:
    """Raises ValueError with what is wrong."""
    return _WRITERS[params.form](params, vocabulary)


def _json(params: StructuredOutputsParams, vocabulary: Vocabulary) -> str:
    from llguidance import LLMatcher

    schema = json.loads(params.source)
    if schema is True:
        schema = {}
    if schema is False:
        raise ValueError("Unsatisfiable schema: false")
    return LLMatcher.grammar_from_json_schema(schema, defaults=_layout(params), overrides=STRICT)


def _layout(params: StructuredOutputsParams) -> Any:
    if params.whitespace_pattern is None:
        return ON_ONE_LINE
    return {"whitespace_pattern": params.whitespace_pattern}


def _regex(params: StructuredOutputsParams, vocabulary: Vocabulary) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_regex(params.source)


def _choice(params: StructuredOutputsParams, vocabulary: Vocabulary) -> str:
    assert params.choice is not None
    return "start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in params.choice)


def _grammar(params: StructuredOutputsParams, vocabulary: Vocabulary) -> str:
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        text = any_to_lark(params.source)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001  the converter raises bare Exception too
        raise ValueError(f"it is neither Lark (with a rule `start`) nor GBNF: {error}") from None
    if _TEMPERATURE.search(text):
        raise ValueError("a rule sets `temperature`, which is a parameter of the request here; leave it out")
    return text


def _structural_tag(params: StructuredOutputsParams, vocabulary: Vocabulary) -> str:
    """Rules: free text with tags in it, each a trigger, the rest of its "begin", JSON, and its "end"."""
    structures, triggers = _tags(json.loads(params.source))
    rules = []
    for number, tag in enumerate(structures):
        begin, end = tag["begin"], tag["end"]
        trigger = next((trigger for trigger in triggers if begin.startswith(trigger)), None)
        if trigger is None:
            raise ValueError(f"no trigger begins {begin!r}")
        schema = tag["schema"] | {"x-guidance": _layout(params) | STRICT}
        body = f"{_literal(begin[len(trigger) :])} %json {json.dumps(schema)} {_literal(end)}"
        if vocabulary.has_control_token(trigger):
            rules.append(f"tag_{number}: FREE {trigger} {body}")
        else:
            rules.append(f"head_{number}[lazy]: FREE {_literal(trigger)}\ntag_{number}: head_{number} {body}")
    tags = " | ".join(f"tag_{number}" for number in range(len(structures)))
    return "\n".join([f"start: ({tags})* FREE", r"FREE: /(.|\n)*/", *rules])


def _tags(value: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    structures, triggers = value.get("structures"), value.get("triggers")
    if not isinstance(structures, list) or not structures:
        raise ValueError('"structures" must be a list of objects with "begin", "schema" and "end"')
    for tag in structures:
        well_formed = (
            isinstance(tag, dict)
            and isinstance(tag.get("begin"), str)
            and isinstance(tag.get("schema"), dict)
            and isinstance(tag.get("end"), str)
        )
        if not well_formed:
            raise ValueError('each of "structures" must have the texts "begin" and "end" and a "schema"')
    if not isinstance(triggers, list) or not all(isinstance(text, str) and text for text in triggers):
        raise ValueError('"triggers" must be a list of texts')
    return structures, triggers


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


_WRITERS: dict[str, Callable[[StructuredOutputsParams, Vocabulary], str]] = {
    "json": _json,
    "json_object": _json,
    "regex": _regex,
    "choice": _choice,
    "grammar": _grammar,
    "structural_tag": _structural_tag,
}
