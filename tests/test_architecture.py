"""The shape of the package: imports point down only, no torch, short files and functions.

Everything here parses the sources and imports none of them.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "redline"
FILES = sorted(PACKAGE.rglob("*.py"))

# A package imports only from lines above its own; siblings on a line do not meet.
LINES = (
    ("errors", "technique"),
    ("catalogue",),
    ("env", "techniques"),
    ("config", "protocol", "parsing"),
    ("core", "ops"),
    ("quant",),
    ("layers", "cache"),
    ("models", "decoding"),
    ("parallel",),
    ("engine", "compress", "plan"),
    ("llm", "server", "client"),
    ("__init__",),
    ("bench", "batch"),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(LINES) for name in names}
# AsyncLLM is LLM for callers on an event loop: two files, one unit. The compiled module belongs to ops.
UNIT = {"async_llm": "llm", "_kernels": "ops"}
# Units that may use less than their line allows. The server is handed an AsyncLLM and imports no engine.
ONLY = {
    "server": {"errors", "env", "config", "protocol", "parsing", "core.distribution", "core.shortcut"},
    "client": {"errors", "env", "protocol"},
    "plan": {"errors", "env", "config", "core", "models.spec"},
}
# Array code is kept out of these: they hold decisions, names and model structure.
NO_NUMPY = ("errors.py", "env.py", "technique.py", "techniques.py", "catalogue/", "__init__.py", "config/",
            "protocol/", "parsing/", "core/", "client/", "plan/", "models/spec.py", "models/decoder.py",
            "models/stem.py", "models/llama.py", "models/qwen.py", "models/mistral.py", "models/gemma.py",
            "models/gemma3n.py", "models/gemma3n_spec.py", "models/gemma3n_stem.py",
            "models/gemma3n_block.py")  # fmt: skip
NEVER = {"torch", "transformers", "llama_cpp", "tensorflow", "jax"}
# These run in the Python of another engine's environment, and nothing imports them.
ELSEWHERE = "bench/workers/"


@dataclass(frozen=True)
class Import:
    target: str  # absolute dotted name
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"line {self.line}: {'lazy ' if self.lazy else ''}import of {self.target}"


def imports(source: str, module: str) -> list[Import]:
    """Every import of `source` outside `if TYPE_CHECKING`, in functions too, as absolute names."""
    return list(_imports(ast.parse(source), module, lazy=False))


def _imports(node: ast.AST, module: str, *, lazy: bool) -> Iterator[Import]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, lazy) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, module)
        whole = [base] if base != "redline" else [f"redline.{alias.name}" for alias in node.names]
        yield from (Import(target, node.lineno, lazy) for target in whole)
    inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, module, lazy=inside)


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if node.level == 0:
        return node.module or ""
    package = module.split(".")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def unit_of(module: str) -> str:
    """The row of the table that a module under redline belongs to."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    return UNIT.get(name, name)


def module_name(path: Path) -> str:
    """The dotted name of a file; a package's own file keeps `__init__`, so that `from .` resolves alike."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def violations(source: str, module: str) -> list[str]:
    """What in `source` breaks the table, one line each."""
    unit = unit_of(module)
    if unit not in RANK:
        return [f"{unit} is not in the table of ranks; decide where it belongs and add it"]
    found = []
    for item in imports(source, module):
        target = unit_of(item.target)
        if item.target.split(".")[0] != "redline" or target == unit:
            continue
        if target not in RANK:
            found.append(f"{item}: {target} is not in the table of ranks")
        elif RANK[target] >= RANK[unit]:
            found.append(f"{item}: {unit} (line {RANK[unit]}) may not use {target} (line {RANK[target]})")
        elif unit in ONLY and not _listed(item.target, ONLY[unit]):
            found.append(f"{item}: {unit} may use only {', '.join(sorted(ONLY[unit]))}")
    return found


def _listed(target: str, allowed: set[str]) -> bool:
    name = target.removeprefix("redline.")
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


def relative_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=relative_name)
def test_imports_point_down_only(path: Path) -> None:
    found = violations(path.read_text(), module_name(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", FILES, ids=relative_name)
def test_no_torch_and_no_numpy_where_it_does_not_belong(path: Path) -> None:
    relative = str(path.relative_to(PACKAGE))
    banned = set() if relative.startswith(ELSEWHERE) else set(NEVER)
    if any(relative == entry or (entry.endswith("/") and relative.startswith(entry)) for entry in NO_NUMPY):
        banned |= {"numpy", "ml_dtypes"}
    found = [str(item) for item in imports(path.read_text(), module_name(path))
             if item.target.split(".")[0] in banned]  # fmt: skip
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("redline.core.blocks", "from redline.engine import build", "may not use engine"),
        ("redline.core.blocks", "def f():\n    from redline.llm import LLM", "lazy import of redline.llm"),
        ("redline.core.blocks", "from ..ops import registry", "may not use ops"),
        ("redline.core.blocks", "from redline import cli", "may not use cli"),
        ("redline.server.app", "from redline.llm import LLM", "may not use llm"),
        ("redline.server.app", "from redline.core.blocks import BlockPool", "may use only"),
        ("redline.novelty.a", "", "novelty is not in the table"),
        ("redline.cli.main", "import redline.novelty", "novelty is not in the table"),
    ],
)
def test_the_import_test_sees_a_leak(module: str, source: str, expected: str) -> None:
    assert any(expected in line for line in violations(source, module))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("redline.core.blocks", "from .sequence import Sequence\nimport collections, numpy"),
        ("redline.server.app", "if TYPE_CHECKING:\n    from redline.async_llm import AsyncLLM"),
        ("redline.engine.build", "from redline.models.spec import ModelSpec"),
        ("redline.async_llm", "from redline.llm import LLM"),
    ],
)
def test_the_import_test_accepts_what_is_allowed(module: str, source: str) -> None:
    assert violations(source, module) == []


def function_lengths(path: Path) -> list[tuple[int, str]]:
    nodes = ast.walk(ast.parse(path.read_text()))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path.name}:{node.name}") for node in functions
    ]


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "tests").rglob("*.py"))], ids=relative_name)
def test_no_file_is_longer_than_500_lines(path: Path) -> None:
    num_lines = len(path.read_text().splitlines())
    assert num_lines <= 500, f"{path.name} has {num_lines} lines; split it by concept"


def test_functions_are_short() -> None:
    lengths = [entry for path in FILES for entry in function_lengths(path)]
    long = sorted(entry for entry in lengths if entry[0] > 50)
    assert statistics.median(length for length, _ in lengths) <= 10
    assert len(long) <= 0.03 * len(lengths), (
        f"{len(long)} of {len(lengths)} functions exceed 50 lines: {long}"
    )


def test_nothing_is_left_for_later() -> None:
    # Written in two parts, or this file would find itself.
    words = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"]))
    sources = [*FILES, *ROOT.glob("csrc/**/*.cpp"), *ROOT.glob("csrc/**/*.h"), *ROOT.glob("tests/**/*.py")]
    assert not _lines_where(sources, words.search)


def test_documents_are_plain_ascii() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert not _lines_where(documents, lambda line: not line.isascii())


def _lines_where(paths: Iterable[Path], condition: Callable[[str], object]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if condition(line)
    ]
