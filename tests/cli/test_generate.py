from __future__ import annotations

import json

import pytest

from redline.cli.generate import stats_line
from tests.cli.fake_llm import METRICS


def test_a_prompt_is_answered_through_the_chat_template_when_there_is_one(run, llm) -> None:
    assert run("generate", "hello there") == (0, "you said: hello there\n", "")
    assert llm.prompts == [[{"role": "user", "content": "hello there"}]]


def test_a_model_without_a_template_completes(run, llm) -> None:
    llm.chat_template = None
    run("generate", "hello")
    assert llm.prompts == ["hello"]


def test_raw_bypasses_the_template(run, llm) -> None:
    run("generate", "hello", "--raw")
    assert llm.prompts == ["hello"]


def test_system_prompt_comes_first(run, llm) -> None:
    run("generate", "hello", "--system", "be brief")
    assert [message["role"] for message in llm.prompts[0]] == ["system", "user"]


@pytest.mark.parametrize("argument", [[], ["-"]])
def test_the_prompt_is_read_from_stdin(run, llm, argument: list[str]) -> None:
    run("generate", "--raw", *argument, stdin="Gr\u00fc\u00dfe\n\n".encode())
    assert llm.prompts == ["Gr\u00fc\u00dfe\n"]  # one line break, that of echo, is not part of the prompt


def test_invalid_utf8_on_stdin_is_an_error_that_says_where(run, llm) -> None:
    code, out, err = run("generate", stdin=b"abc\xff")
    assert (code, out) == (2, "")
    assert "not valid UTF-8 at byte 3" in err


def test_invalid_utf8_on_the_command_line_is_an_error(run, llm) -> None:
    code, _, err = run("generate", "abc\udcff")
    assert code == 2 and "not valid UTF-8 at character 3" in err


def test_sampling_flags_reach_the_engine(run, llm) -> None:
    run("generate", "x", "--seed", "7", "--top-k", "5", "--stop", "a", "--stop", "b", "--ignore-eos",
        "--max-tokens", "9")  # fmt: skip
    params = llm.params[0]
    assert (params.seed, params.top_k, params.stop, params.ignore_eos) == (7, 5, ("a", "b"), True)
    assert (params.max_tokens, params.temperature) == (9, 0.0)


def test_several_answers_are_separated(run, llm) -> None:
    assert run("generate", "x", "--n", "2")[1] == "you said: x\n---\nyou said: x\n"


def test_without_streaming_the_text_is_the_same(run, llm) -> None:
    assert run("generate", "a b", "--no-stream")[1] == run("generate", "a b")[1]


def test_json_is_one_object(run, llm) -> None:
    _, out, _ = run("generate", "x", "--json")
    parsed = json.loads(out)
    assert parsed["choices"][0]["text"] == "you said: x"
    assert parsed["metrics"]["ttft_s"] == METRICS.ttft_s
    assert parsed["model"] == "smollm2"


def test_stats_go_to_stderr(run, llm) -> None:
    _, out, err = run("generate", "x", "--stats")
    assert out == "you said: x\n"
    assert err.startswith(
        "5 prompt tokens (2 cached) | 4 output tokens | TTFT 20 ms | TPOT 10.0 ms | 100.0 tok/s"
    )


def test_stats_of_a_single_token_have_no_rate() -> None:
    assert "tok/s" not in stats_line(type("M", (), {**_fields(), "tpot_s": 0.0})())


def _fields() -> dict[str, object]:
    return {name: getattr(METRICS, name) for name in METRICS.__slots__}


def test_control_characters_reach_a_pipe_but_not_a_terminal(
    run, llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b[2J" in run("generate", "\x1b[2J")[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run("generate", "a\x1b[2Jb\tc")[1] == "you said: a\ufffd[2Jb\tc\n"
