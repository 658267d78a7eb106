from __future__ import annotations

import argparse
import os
import signal
from types import SimpleNamespace

import pytest

from redline.cli import roofline, serve
from redline.config.memory import MemoryBudget, describe
from redline.server.config import ServerConfig


def arguments(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(argv)


def test_the_server_answers_to_the_name_that_was_asked_for() -> None:
    config = serve.server_config(arguments("--model", "my-model", "--port", "0"))
    assert (config.aliases, config.port, config.host) == (("my-model",), 0, "127.0.0.1")


def test_the_queue_is_as_long_as_the_flag_says() -> None:
    assert serve.server_config(arguments("--max-waiting", "3")).max_waiting == 3


class FakeLLM:
    """What the verb does with a model besides serving it."""

    memory = MemoryBudget(process_bytes=2**26, free_bytes=2**31, weight_bytes=2**30)
    chat_template = SimpleNamespace(source="<tool_call>", reads={"tools"})
    stalled_s = 0.0
    closed = False

    async def close(self) -> None:
        self.closed = True

    def write_trace(self, path) -> None:
        path.write_text("trace")


@pytest.fixture
def llm(monkeypatch) -> FakeLLM:
    """Loaded and served in place of a model; the server ends at once, by no signal."""
    fake = FakeLLM()
    fake.ended_by = None

    async def fake_serve(load, config):
        assert await load() is fake
        print("listening")
        return fake.ended_by

    monkeypatch.setattr(serve, "open_async_llm", lambda args: fake)
    monkeypatch.setattr(roofline, "known_roofline", lambda llm: None)
    monkeypatch.setattr("redline.server.serve.serve", fake_serve)
    return fake


def test_the_memory_budget_is_shown_before_the_server_listens(run, llm) -> None:
    code, out, err = run("serve", "--model", "m")
    assert (code, out) == (0, "listening\n") and llm.closed
    *budget_lines, tools, reasoning = err.splitlines()
    assert budget_lines == describe(llm.memory) and "1.00 GiB" in err
    assert tools == "tool_call_parser=hermes: its tags are in the chat template"
    assert reasoning == "reasoning_parser=none: the chat template shows no tags that are known here"


def test_parsers_are_chosen_by_name() -> None:
    config = serve.server_config(arguments("--tool-call-parser", "mistral", "--reasoning-parser", "none"))
    assert (config.tool_call_parser, config.reasoning_parser) == ("mistral", "none")
    with pytest.raises(SystemExit):
        arguments("--tool-call-parser", "yaml")


def test_the_trace_is_written_after_a_drain(run, llm, tmp_path) -> None:
    assert run("serve", "--trace", str(tmp_path / "trace"))[0] == 0
    assert (tmp_path / "trace").read_text() == "trace"


class Ended(BaseException):
    """The process would be gone."""


def test_a_signal_that_ended_the_server_ends_the_process(run, llm, monkeypatch) -> None:
    sent = []

    def kill(process: int, number: int) -> None:
        sent.append((process, number, signal.getsignal(number)))
        raise Ended

    monkeypatch.setattr(os, "kill", kill)
    before = signal.getsignal(signal.SIGTERM)
    llm.ended_by = signal.SIGTERM
    try:
        with pytest.raises(Ended):
            run("serve")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sent == [(os.getpid(), signal.SIGTERM, signal.SIG_DFL)] and not llm.closed


def test_a_stuck_engine_is_not_waited_for(run, llm, monkeypatch) -> None:
    def leave(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", leave)
    llm.stalled_s = 121.0
    with pytest.raises(Ended, match="1"):
        run("serve")
    assert not llm.closed
    assert run("serve", "--step-timeout", "122")[0] == 0 and llm.closed


def test_flags_are_fields_of_the_server() -> None:
    config = serve.server_config(
        arguments(
            *("--api-key", "key-number-one", "--api-key", "key-number-two", "--api-keys-file", "keys"),
            *("--cors-origin", "https://a.example", "--cors-origin", "http://b.example", "--public-metrics"),
            *("--tls-cert", "cert", "--tls-key", "key", "--share-cache-between-keys"),
            *("--max-queue", "5", "--max-waiting", "7", "--max-queued-tokens", "1000"),
            *("--request-timeout", "60", "--queue-timeout", "1.5", "--step-timeout", "none"),
            *("--drain-timeout", "3"),
        )
    )
    assert config == ServerConfig(
        aliases=("smollm2",),
        api_keys=("key-number-one", "key-number-two"),
        api_keys_file="keys",
        cors_origins=("https://a.example", "http://b.example"),
        public_metrics=True,
        tls_cert="cert",
        tls_key="key",
        share_cache_between_keys=True,
        max_waiting=5,
        max_queued_tokens=1000,
        request_timeout_s=60.0,
        queue_timeout_s=1.5,
        step_timeout_s=None,
        drain_timeout_s=3.0,
    )


def test_without_flags_the_defaults_of_the_server_hold() -> None:
    assert serve.server_config(arguments()) == ServerConfig(aliases=("smollm2",))


def test_a_step_that_may_hold_a_whole_prompt_may_take_longer() -> None:
    assert serve.server_config(arguments("--chunked-prefill", "none")).step_timeout_s == 1200
    assert (
        serve.server_config(arguments("--chunked-prefill", "none", "--step-timeout", "9")).step_timeout_s == 9
    )


def test_a_key_may_come_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("REDLINE_API_KEY", "key-of-the-environment")
    assert serve.server_config(arguments()).api_keys == ("key-of-the-environment",)
    assert serve.server_config(arguments("--api-key", "key-of-a-flag")).api_keys == ("key-of-a-flag",)
    monkeypatch.setenv("REDLINE_API_KEY", "")
    assert serve.server_config(arguments()).api_keys == ()


def test_help_shows_no_key(run, monkeypatch) -> None:
    monkeypatch.setenv("REDLINE_API_KEY", "key-of-the-environment")
    code, out, _ = run("serve", "--help")
    assert code == 0 and "--api-key KEY" in out and "key-of-the-environment" not in out


@pytest.mark.parametrize(
    "argv, problem",
    [
        (("--max-queue", "0"), "max_waiting is 0"),
        (("--max-queued-tokens", "0"), "max_queued_tokens is 0"),
        (("--request-timeout", "-1"), "request_timeout_s is -1.0"),
        (("--queue-timeout", "nan"), "queue_timeout_s is nan"),
        (("--drain-timeout", "none"), "drain_timeout_s is None"),
        (("--step-timeout", "soon"), "neither a number of seconds nor none"),
        (("--cors-origin", "a.example/"), "cors_origins has 'a.example/'"),
        (("--tls-key", "key"), "tls_key is given without tls_cert"),
        (("--tls-cert", "/no/such/file"), "cannot read tls_cert /no/such/file: No such file"),
        (("--api-keys-file", "/no/such/file"), "cannot read the keys in /no/such/file: No such file"),
        (("--api-key", "short"), "key api-key-1 cannot be used"),
        (("--max-batch", "0"), "max_batch is 0"),
    ],
)
def test_a_wrong_flag_is_refused_before_the_model_loads(run, monkeypatch, argv, problem) -> None:
    monkeypatch.setattr(serve, "open_async_llm", lambda args: pytest.fail("it loads"))
    code, out, err = run("serve", "--port", "0", *argv)
    assert (code, out) == (2, "") and problem in err and err.count("\n") == 1


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_out_of_range_is_refused_before_the_model_loads(run, port: str) -> None:
    code, _, err = run("serve", "--port", port)
    assert code == 2 and f"port is {port}" in err
