"""What comes from outside is data: nothing that is read becomes code, and only a few modules reach out.

Lists of what an unpickler may load have failed elsewhere again and again; so no unpickler is here at all.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "redline"
FILES = sorted(PACKAGE.rglob("*.py"))

UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
CODE = {"eval", "exec", "compile", "__import__", "execfile"}
LOADERS = {("torch", "load"), ("os", "system"), ("os", "popen")}
ARRAY_LOADERS = {("np", "load"), ("numpy", "load")}  # they unpickle where they are told to: by allow_pickle
TRUSTING = {"allow_pickle", "trust_remote_code", "shell"}
CLIENTS = {"httpx", "requests", "aiohttp", "urllib.request", "http.client", "ftplib", "huggingface_hub"}
# The client, the downloads that a user asks for, and measurements of other servers.
MAY_REACH_OUT = ("client/", "models/", "bench/", "cli/")


WORDS = UNPICKLERS | CODE | TRUSTING | CLIENTS | {owner for owner, _ in LOADERS}
SUSPECT = re.compile("|".join(map(re.escape, sorted(WORDS | {"np.load", "numpy.load"}))))


def suspects() -> Iterator[tuple[str, ast.Module]]:
    """The files that have one of the words at all: to parse the others takes seconds."""
    for path in FILES:
        if SUSPECT.search(text := path.read_text()):
            yield str(path.relative_to(PACKAGE)), ast.parse(text, str(path))


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(tree: ast.Module) -> Iterator[str]:
    for name in imports(tree):
        if name.partition(".")[0] in UNPICKLERS:
            yield f"imports {name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in CODE:
            yield f"line {node.lineno} calls {called.id}"
        owner = getattr(called, "value", None)
        if isinstance(owner, ast.Name):
            name = owner.id, getattr(called, "attr", "")
            if name in LOADERS or (name in ARRAY_LOADERS and len(node.args) > 1):
                yield f"line {node.lineno} calls {'.'.join(name)}"
        for keyword in node.keywords:
            said_no = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in TRUSTING and not said_no:
                yield f"line {node.lineno} passes {keyword.arg}"


def test_nothing_turns_data_into_code():
    found = {place: list(offences(tree)) for place, tree in suspects()}
    assert {place: what for place, what in found.items() if what} == {}


def test_only_the_client_and_downloads_reach_out():
    """A URL in a request can lead nowhere: what serves has nothing to fetch it with."""
    for place, tree in suspects():
        reaching = CLIENTS & set(imports(tree))
        assert not reaching or place.startswith(MAY_REACH_OUT), (place, reaching)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from torch import load\nimport dill as json",
        "eval('1')",
        "np.load(path, None, True)",
        "load(path, allow_pickle=True)",
        "load(path, trust_remote_code=flag)",
        "run(x, shell=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert SUSPECT.search(source) and list(offences(ast.parse(source)))
