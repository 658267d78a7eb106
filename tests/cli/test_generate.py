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


def test_samplers_have_the_flags_of_llama_cpp(run, llm) -> None:
    run("generate", "x", "--typical", "0.5", "--top-nsigma", "1.5", "--xtc-probability", "0.3",
        "--xtc-threshold", "0.2", "--dry-multiplier", "0.8", "--dry-base", "2", "--dry-allowed-length", "3",
        "--dry-penalty-last-n", "64", "--dry-sequence-breaker", "a", "--dry-sequence-breaker", "b",
        "--bad-word", "c")  # fmt: skip
    params = llm.params[0]
    assert (params.typical_p, params.top_n_sigma) == (0.5, 1.5)
    assert (params.xtc_probability, params.xtc_threshold, params.bad_words) == (0.3, 0.2, ("c",))
    assert (params.dry_multiplier, params.dry_base, params.dry_allowed_length) == (0.8, 2.0, 3)
    assert (params.dry_penalty_last_n, params.dry_sequence_breakers) == (64, ("a", "b"))
    run("generate", "x", "--dry-sequence-breaker", "none")
    assert llm.params[1].dry_sequence_breakers == ()


def test_beam_flags_reach_the_engine(run, llm) -> None:
    run("generate", "x", "--use-beam-search", "--best-of", "4", "--length-penalty", "0.5", "--early-stopping",
        "never", "--num-beam-groups", "2", "--diversity-penalty", "0.3")  # fmt: skip
    params = llm.params[0]
    assert (params.use_beam_search, params.beam_width, params.length_penalty) == (True, 4, 0.5)
    assert (params.early_stopping, params.num_beam_groups, params.diversity_penalty) == ("never", 2, 0.3)
    code, _, err = run("generate", "x", "--use-beam-search", "--best-of", "4", "--top-k", "3")
    assert code == 2 and "top_k is 3; beam search does not support it" in err


def test_the_form_of_the_answer_reaches_the_engine(run, llm, tmp_path) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "grammar.gbnf"
    schema.write_text('{"type": "null"}')
    grammar.write_text('root ::= "x"')
    for flags, form, source in (
        (["--json-schema", "{}"], "json", "{}"),
        (["--json-schema-file", str(schema)], "json", '{"type": "null"}'),
        (["--grammar", 'start: "a"'], "grammar", 'start: "a"'),
        (["--grammar-file", str(grammar)], "grammar", 'root ::= "x"'),
        (["--regex", "a+"], "regex", "a+"),
    ):
        assert run("generate", "x", *flags)[0] == 0
        structured = llm.params[-1].structured_outputs
        assert (structured.form, structured.source) == (form, source)
    run("generate", "x")
    assert llm.params[-1].structured_outputs is None


def test_a_form_that_is_wrong_names_its_flag_or_field(run, tmp_path) -> None:
    for flags, said in (
        (["--json-schema", "{"], "structured_outputs.json"),
        (["--json-schema-file", str(tmp_path / "none")], "--json-schema-file"),
        (["--regex", "a", "--grammar", "b"], "not allowed with"),
    ):
        code, out, err = run("generate", "x", *flags)
        assert (code, out) == (2, "") and said in err


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


def test_stats_say_how_many_guesses_were_right() -> None:
    guessed = type("M", (), {**_fields(), "num_draft_tokens": 9, "num_accepted_tokens": 7})()
    assert "7 of 9 guessed tokens right" in stats_line(guessed)
    assert "guessed" not in stats_line(METRICS)


def _fields() -> dict[str, object]:
    return {name: getattr(METRICS, name) for name in METRICS.__slots__}


def test_control_characters_reach_a_pipe_but_not_a_terminal(
    run, llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b[2J" in run("generate", "\x1b[2J")[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run("generate", "a\x1b[2Jb\tc")[1] == "you said: a\ufffd[2Jb\tc\n"
