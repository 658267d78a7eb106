from __future__ import annotations

import argparse
from types import SimpleNamespace

import pytest

from redline.cli import serve
from redline.config.memory import MemoryBudget, describe


def arguments(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(argv)


def test_the_server_answers_to_the_name_that_was_asked_for() -> None:
    config = serve.server_config(arguments("--model", "my-model", "--port", "0"))
    assert (config.aliases, config.port, config.host) == (("my-model",), 0, "127.0.0.1")


def test_the_queue_is_as_long_as_the_flag_says() -> None:
    assert serve.server_config(arguments("--max-waiting", "3")).max_waiting == 3


def test_the_memory_budget_is_shown_before_the_server_listens(run, monkeypatch) -> None:
    async def nothing(llm: object, config: object) -> None:
        print("listening")

    budget = MemoryBudget(process_bytes=2**26, free_bytes=2**31, weight_bytes=2**30)
    monkeypatch.setattr(serve, "open_async_llm", lambda args: SimpleNamespace(memory=budget))
    monkeypatch.setattr(serve, "_serve", nothing)
    code, out, err = run("serve", "--model", "m")
    assert (code, out) == (0, "listening\n")
    assert err == "\n".join(describe(budget)) + "\n" and "1.00 GiB" in err


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_out_of_range_is_refused_before_the_model_loads(run, port: str) -> None:
    code, _, err = run("serve", "--port", port)
    assert code == 2 and f"port is {port}" in err
