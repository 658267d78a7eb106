from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from redline.cli import bench, chat, eval, generate
from redline.cli.main import main
from tests.cli.fake_llm import FakeLLM


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> FakeLLM:
    """A fake that every verb gets in place of a model."""
    fake = FakeLLM()
    for module in (generate, chat, bench, eval):
        monkeypatch.setattr(module, "open_llm", lambda args, **options: fake)
    return fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """run(*argv, stdin=b"...") -> (exit code, stdout, stderr)."""

    def run_main(*argv: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        try:
            code = main(list(argv))
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run_main
