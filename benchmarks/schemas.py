"""Fifty JSON Schemas with what people use them for: nesting, recursion, enums, patterns, numeric bounds.

What may be long has an end (maxLength, maxItems), so that an answer of a small model ends within its tokens.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def text(most: int = 24, **more: Any) -> Schema:
    return {"type": "string", "maxLength": most, **more}


def integer(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def number(low: float, high: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high, "multipleOf": 0.25}  # exact in binary


def pattern(expression: str) -> Schema:
    return {"type": "string", "pattern": expression}


def one_of(*values: Any) -> Schema:
    return {"enum": list(values)}


def array(items: Schema, least: int = 0, most: int = 3) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def closed(required: list[str] | None = None, /, **properties: Schema) -> Schema:
    """An object of these properties, all of them required unless said otherwise."""
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def tree(children: int, depth: int) -> Schema:
    """A recursive type, used through a fixed number of levels at the most."""
    leaf = closed(value=integer(0, 9))
    node = leaf
    for _ in range(depth):
        node = closed(["value"], value=integer(0, 9), children=array(node, most=children))
    return node


def recursive(name: str, definition: Schema, root: Schema | None = None) -> Schema:
    return {**(root or {"$ref": f"#/$defs/{name}"}), "$defs": {name: definition}}


POINT = closed(x=integer(-100, 100), y=integer(-100, 100))
MONEY = closed(amount=number(0, 1000), currency=one_of("EUR", "USD", "JPY"))
ADDRESS = closed(street=text(), city=text(16), zip=pattern("^[0-9]{5}$"))
PERSON = closed(name=text(), age=integer(0, 120), email=pattern("^[a-z]{1,10}@[a-z]{1,10}\\.(com|org)$"))
OPERATORS = one_of("+", "-", "*", "/")

SCHEMAS: dict[str, Schema] = {
    # flat
    "person": PERSON,
    "point": POINT,
    "money": MONEY,
    "address": ADDRESS,
    "boolean": {"type": "boolean"},
    "integer": integer(1, 10),
    "number": number(-1.5, 2.5),
    "string": text(40),
    "null or text": {"anyOf": [{"type": "null"}, text()]},
    "constant": closed(version={"const": "1.0"}, kind={"const": "report"}),
    # enums
    "color": one_of("red", "green", "blue"),
    "mixed enum": one_of("none", 0, 1.5, True, None),
    "sentiment": closed(label=one_of("positive", "neutral", "negative"), confidence=number(0, 1)),
    "priorities": array(one_of("low", "medium", "high"), 1, 4),
    "enum of objects": one_of({"a": 1}, {"b": [1, 2]}, {"c": "x y"}),
    # patterns and formats
    "date": closed(date={"type": "string", "format": "date"}),
    "timestamp": closed(at={"type": "string", "format": "date-time"}),
    "uuid": closed(id={"type": "string", "format": "uuid"}),
    "ipv4": closed(host={"type": "string", "format": "ipv4"}, port=integer(1, 65535)),
    "phone": pattern("^\\+[1-9][0-9]{6,12}$"),
    "plate": pattern("^[A-Z]{1,3}-[A-Z]{1,2} [0-9]{1,4}$"),
    "version": closed(version=pattern("^[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}(-(alpha|beta))?$")),
    "hex color": array(pattern("^#[0-9a-f]{6}$"), 2, 3),
    "time": closed(start=pattern("^([01][0-9]|2[0-3]):[0-5][0-9]$"), minutes=integer(5, 240)),
    # numeric bounds
    "exclusive": closed(x={"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 7}),
    "negative": closed(t=number(-273.15, -0.5)),
    "multiple": closed(n={"type": "integer", "minimum": 0, "maximum": 500, "multipleOf": 25}),
    "percent": array(integer(0, 100), 3, 3),
    "large": closed(n=integer(10**9, 10**12)),
    "coordinates": closed(latitude=number(-90, 90), longitude=number(-180, 180)),
    # arrays
    "pair": {"type": "array", "prefixItems": [text(12), integer(0, 9)], "items": False, "minItems": 2},
    "matrix": array(array(integer(0, 9), 3, 3), 3, 3),
    "lines": array(closed(start=POINT, end=POINT), 1, 2),
    "tags": closed(title=text(), tags=array(text(10), 1, 4)),
    # nested
    "order": closed(
        id=integer(1, 9999), customer=PERSON, items=array(closed(sku=text(8), price=MONEY), 1, 2)
    ),
    "company": closed(name=text(), address=ADDRESS, staff=array(PERSON, 1, 2)),
    "deep": closed(a=closed(b=closed(c=closed(d=closed(e=one_of("end")))))),
    "optional": closed(
        ["id"], id=integer(1, 99), note=text(), parent=integer(1, 99), open={"type": "boolean"}
    ),
    "map": {"type": "object", "additionalProperties": integer(0, 9), "minProperties": 1, "maxProperties": 2},
    "recipe": closed(
        name=text(), servings=integer(1, 12), steps=array(closed(text=text(30), minutes=integer(1, 60)), 1, 3)
    ),
    # alternatives
    "shape": {
        "anyOf": [
            closed(kind={"const": "circle"}, radius=integer(1, 9)),
            closed(kind={"const": "box"}, width=integer(1, 9), height=integer(1, 9)),
        ]
    },
    "event": {
        "oneOf": [
            closed(type={"const": "message"}, text=text()),
            closed(type={"const": "join"}, user=text(12)),
            closed(type={"const": "leave"}, user=text(12)),
        ]
    },
    "all of": {
        "allOf": [{"type": "object", "properties": {"a": integer(0, 9)}, "required": ["a"]}, closed(a={})]
    },
    "definitions": {
        **closed(home={"$ref": "#/$defs/address"}, work={"$ref": "#/$defs/address"}),
        "$defs": {"address": ADDRESS},
    },
    "tool call": {
        "anyOf": [
            closed(name={"const": "get_weather"}, arguments=closed(city=text(16), unit=one_of("C", "F"))),
            closed(
                name={"const": "send_mail"}, arguments=closed(to=pattern("^[a-z]{1,8}@x\\.org$"), body=text())
            ),
        ]
    },
    # recursive
    "tree": tree(2, 2),
    "list": recursive(
        "node",
        closed(value=integer(0, 9), next={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}),
    ),
    "expression": recursive(
        "term",
        {
            "anyOf": [
                integer(0, 99),
                closed(op=OPERATORS, left={"$ref": "#/$defs/term"}, right={"$ref": "#/$defs/term"}),
            ]
        },
        closed(op=OPERATORS, left={"$ref": "#/$defs/term"}, right=integer(0, 99)),
    ),
    "folder": recursive(
        "folder",
        closed(["name"], name=text(10), folders=array({"$ref": "#/$defs/folder"}, most=2)),
    ),
    "nested lists": recursive("lists", {"anyOf": [integer(0, 9), array({"$ref": "#/$defs/lists"}, 0, 2)]}),
}
assert len(SCHEMAS) == 50, len(SCHEMAS)


# A recursive schema lets an answer go on for ever, and a small model does unless it is shown where to end.
EXAMPLES = {
    "list": '{"value": 3, "next": {"value": 7, "next": null}}',
    "expression": '{"op": "*", "left": {"op": "+", "left": 12, "right": 3}, "right": 5}',
    "folder": '{"name": "home", "folders": [{"name": "music"}, {"name": "work"}]}',
    "nested lists": "[[1, 2], [3, []]]",
}


def request(name: str) -> list[dict[str, str]]:
    """A chat that asks for an answer of this schema."""
    asked = f"Write an example of {name} as JSON. Keep it short. Only the JSON."
    if name in EXAMPLES:
        asked = f"Write another {name} like this one, of the same size: {EXAMPLES[name]}"
    return [{"role": "user", "content": asked}]
