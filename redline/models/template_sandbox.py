"""BoundedEnvironment: Jinja's sandbox, with a budget on everything that can loop or grow.

The sandbox keeps a template away from Python's internals. It does not keep it from running for ever or from
doubling a string forty times, and chat templates come out of model files. So the parsed template is rewritten
to count its loops, and operators, calls and filters go through the budget; what a chat template has no use
for and would be hard to bound is not there at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from types import CodeType
from typing import Any, NoReturn

from jinja2 import nodes, pass_context
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as _TESTS
from jinja2.visitor import NodeTransformer

from redline.models.template_budget import MAX_DEPTH, Budget, BudgetExceeded, foresee_integer

# These hand elements on as they are; all others write their input out or compare it.
_STRUCTURAL = {
    "count",
    "d",
    "default",
    "first",
    "items",
    "last",
    "length",
    "list",
    "map",
    "reject",
    "rejectattr",
}
_STRUCTURAL |= {"reverse", "select", "selectattr"}
_FILTERS = _STRUCTURAL | {
    *("abs", "attr", "capitalize", "dictsort", "e", "escape", "float", "groupby", "indent", "int", "join"),
    *(
        "lower",
        "max",
        "min",
        "replace",
        "safe",
        "sort",
        "string",
        "title",
        "tojson",
        "trim",
        "unique",
        "upper",
    ),
}
_COMPARISONS = {"!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in", "le"}
_COMPARISONS |= {"lessthan", "lt", "ne"}
_TEXT_METHODS = {
    *(
        "capitalize",
        "casefold",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isascii",
        "isdecimal",
    ),
    *(
        "isdigit",
        "islower",
        "isnumeric",
        "isspace",
        "istitle",
        "isupper",
        "join",
        "lower",
        "lstrip",
        "partition",
    ),
    *(
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rindex",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
    ),
    *("splitlines", "startswith", "strip", "swapcase", "title", "upper"),
}
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(\*|\d{4})")
MAX_INDENT = 64
MAX_DATE_FORMAT = 200
MAX_MESSAGE = 1000


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The environment of one rendering. Compile with one, render with a new one.

    Chat templates get what `transformers` gives them: blocks trimmed, loop controls, `raise_exception`,
    `strftime_now`, a `tojson` that does not escape for HTML, and a `generation` tag without effect.
    """

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        self.budget = Budget()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, GenerationTag],
            finalize=self.written,
        )
        originals = FILTERS | {"tojson": _to_json}
        self.filters = {name: _bounded_filter(name, originals[name]) for name in sorted(_FILTERS)}
        self.tests = {name: self._bounded_test(name, test) for name, test in _TESTS.items()}
        del self.globals["lipsum"]
        self.globals.update(raise_exception=self.raise_exception, strftime_now=self.strftime_now)

    def compile_bounded(self, source: str) -> CodeType:
        """Code of a template whose loops, joins, comparisons and literals count."""
        tree = _Counting().visit(self.parse(source))
        return self.compile(tree)

    # What the rewritten template calls.

    def counted(self, iterable: Any) -> Any:
        """What a loop runs over."""
        return self.budget.loop(iterable)

    def joined(self, *values: Any) -> str:
        """The ~ operator."""
        return self.concat(str(self.written(value)) for value in values)

    def written(self, value: Any) -> Any:
        """A value that is about to be written out or compared."""
        if isinstance(value, str):
            self.budget.step()
        else:
            self.budget.weigh(value)
        return value

    def admitted(self, value: Any) -> Any:
        """A list, tuple or dict literal."""
        return self.budget.admit(value)

    def raise_exception(self, message: Any) -> NoReturn:
        """How a template refuses a conversation."""
        raise TemplateError(str(self.written(message))[:MAX_MESSAGE])

    def strftime_now(self, format: str) -> str:
        """The date and time, in local time."""
        if len(format) > MAX_DATE_FORMAT or _WIDE_FORMAT.search(format):
            raise BudgetExceeded(f"it formats a date with more than {MAX_DATE_FORMAT} characters")
        return datetime.now().strftime(format)

    # What Jinja calls.

    def concat(self, parts: Iterable[str]) -> str:
        """Join the output of a template, macro or block."""
        kept, size = [], 0
        for part in parts:
            size += len(part)
            self.budget.foresee(size)
            kept.append(part)
        self.budget.produce(size)
        return "".join(kept)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An arithmetic operator."""
        self.budget.step()
        if operator == "*":
            self._foresee_product(left, right)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            foresee_integer(left.bit_length() * abs(right))
        elif operator == "%" and isinstance(left, str):
            self.budget.foresee(len(left) + self.budget.weigh(right)[1])
            if _WIDE_FORMAT.search(left):
                raise BudgetExceeded("it formats a field of a thousand characters or more")
        return self.budget.admit(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A call of a function, macro or method."""
        self.budget.step()
        owner = getattr(obj, "__self__", None)
        if owner is self:
            return obj(*args)  # Jinja's own keywords for calls in loops have no meaning here
        if isinstance(owner, str):
            args = self._foresee_text_method(owner, obj.__name__, args, kwargs)
        elif isinstance(owner, list | tuple | dict | LoopContext):  # their methods compare or hash
            self.budget.weigh([args, owner if isinstance(owner, list | tuple) else None])
        elif isinstance(obj, LoopContext) and args:
            args = (self.counted(args[0]), *args[1:])
        return self.budget.admit(super().call(context, obj, *args, **kwargs))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A subscript."""
        if not isinstance(argument, str | int | slice):
            self.budget.weigh(argument)
        found = super().getitem(obj, argument)
        return self.budget.admit(found) if isinstance(argument, slice) else found

    def wrap_str_format(self, value: Any) -> None:
        """No way to str.format: a field can be as wide as memory."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read `obj.attr`."""
        if isinstance(obj, str) and attr not in _TEXT_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def _foresee_product(self, left: Any, right: Any) -> None:
        for value, times in ((left, right), (right, left)):
            if isinstance(value, str | list | tuple) and isinstance(times, int):
                self.budget.foresee(len(value) * times)
        if isinstance(left, int) and isinstance(right, int):
            foresee_integer(left.bit_length() + right.bit_length())

    def _foresee_text_method(
        self, text: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, ...]:
        self.budget.read(len(text))
        if name == "join" and args:
            args = (self.listed(args[0]),)
            self.foresee_join(args[0], text)
        elif name == "replace":
            self.foresee_replace(text, *(args or kwargs.values()))
        return args

    def listed(self, value: Any) -> Any:
        """`value`, made a list if it is something else that can be iterated over."""
        if isinstance(value, str | list | tuple | dict) or not hasattr(type(value), "__iter__"):
            return value
        return list(self.budget.loop(value))

    def foresee_join(self, items: Any, separator: Any) -> None:
        """Refuse to join what would be too long."""
        num_items, chars = self.budget.weigh(items)
        if isinstance(items, str):
            num_items = len(items)
        self.budget.foresee(chars + num_items * len(str(separator)))

    def foresee_replace(self, text: str, old: Any = "", new: Any = "", *_: Any) -> None:
        """Refuse to replace what would become too long."""
        found = text.count(str(old)) if isinstance(old, str) else 0
        self.budget.foresee(len(text) + found * (len(str(new)) if isinstance(new, str) else 0))

    def _bounded_test(self, name: str, test: Any) -> Any:
        if name not in _COMPARISONS:
            return test

        def bounded(value: Any, *args: Any) -> Any:
            return test(self.written(value), *map(self.written, args))

        return bounded


class _Counting(NodeTransformer):
    """Rewrites a parsed template: loops, joins, comparisons and literals go through the budget."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _ask(node, "counted", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> Any:
        self.generic_visit(node)
        return _ask(node, "joined", *node.nodes)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if all(isinstance(operand.expr, nodes.Const) for operand in node.ops):
            return node  # a number, text or none differs from a list without a look into it
        node.expr = _ask(node, "written", node.expr)
        for operand in node.ops:
            operand.expr = _ask(node, "written", operand.expr)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.key = _ask(node, "written", node.key)
        return node

    def visit_List(self, node: nodes.List | nodes.Dict) -> Any:
        self.generic_visit(node)
        return _ask(node, "admitted", node)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> Any:
        self.generic_visit(node)
        return _ask(node, "admitted", node) if node.ctx == "load" else node


def _ask(node: nodes.Node, method: str, *args: nodes.Node) -> Any:
    """A call of the environment's `method`, in the place of `node`."""
    call = nodes.Call(nodes.EnvironmentAttribute(method), list(args), [], None, None)
    assert node.environment is not None, f"{node = }"
    return call.set_lineno(node.lineno, override=True).set_environment(node.environment)


class GenerationTag(Extension):
    """{% generation %} marks an assistant's answer for training; here it only groups."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=lineno)


def _bounded_filter(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """`original` behind the budget. Asking for the context keeps Jinja from running it at compile time."""
    first = getattr(getattr(original, "jinja_pass_arg", None), "name", None)

    @pass_context
    def bounded(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        env = context.environment
        assert isinstance(env, BoundedEnvironment), f"{type(env) = }"
        env.budget.step()
        if name not in _STRUCTURAL:
            value = _foreseen(env, name, value, args, kwargs)
        passed = {"context": context, "eval_context": context.eval_ctx, "environment": env}
        before = [passed[first]] if first else []
        return env.budget.admit(original(*before, value, *args, **kwargs))

    return bounded


def _foreseen(
    env: BoundedEnvironment, name: str, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The value of a filter that writes out or compares, once its result is known to be small enough."""
    value = env.listed(value)
    options = [*args, *kwargs.values()]
    items, chars = env.budget.weigh([value, options])
    if name == "join":
        env.foresee_join(value, options[0] if options else "")
    elif name == "replace":
        env.foresee_replace(str(value), *options)
    elif name in ("indent", "tojson"):
        width = max((_width(option) for option in options), default=0)
        if width > MAX_INDENT:
            raise BudgetExceeded(f"it indents by more than {MAX_INDENT}")
        lines = str(value).count("\n") + 1 if name == "indent" else items * MAX_DEPTH
        env.budget.foresee(chars + lines * width)
    return value


def _width(option: Any) -> int:
    if isinstance(option, str):
        return len(option)
    return option if isinstance(option, int) else 0


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
