from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from redline.cli.chat import Conversation
from redline.config.sampling import SamplingParams
from redline.engine.outputs import Delta
from tests.cli.fake_llm import FakeLLM


def test_history_grows_and_the_end_of_input_exits(run, llm) -> None:
    code, out, err = run("chat", "--system", "be brief", stdin=b"one\n\ntwo\n")
    assert (code, out, err) == (0, "you said: one\nyou said: two\n", "")
    assert [message["content"] for message in llm.prompts[1]] == ["be brief", "one", "you said: one", "two"]


def test_mirostat_takes_the_place_of_the_defaults_of_the_verb(run, llm) -> None:
    run("chat", "--mirostat", "2", "--mirostat-ent", "3", "--mirostat-lr", "0.2", stdin=b"one\n")
    params = llm.params[0]
    assert (params.mirostat, params.mirostat_tau, params.mirostat_eta) == (2, 3.0, 0.2)
    assert (params.top_p, params.temperature) == (1.0, 0.2)
    run("chat", stdin=b"one\n")
    assert llm.params[1].top_p == 0.9
    code, _, err = run("chat", "--mirostat", "2", "--top-p", "0.9", stdin=b"one\n")
    assert code == 2 and "mirostat is 2 and top_p is 0.9" in err


def test_reset_forgets_all_but_the_system_prompt(run, llm) -> None:
    run("chat", "--system", "s", stdin=b"one\n/reset\ntwo\n")
    assert [message["content"] for message in llm.prompts[1]] == ["s", "two"]


def test_exit_leaves_at_once(run, llm) -> None:
    assert run("chat", stdin=b"/exit\nnever asked\n")[:2] == (0, "")
    assert llm.prompts == []


def test_help_and_unknown_commands(run, llm) -> None:
    _, out, _ = run("chat", stdin=b"/help\n/bogus x\n")
    assert "/reset" in out and "unknown command /bogus" in out
    assert llm.prompts == []


def test_a_model_without_a_template_is_refused(run, llm) -> None:
    llm.chat_template = None
    code, _, err = run("chat", stdin=b"hi\n")
    assert code == 2 and "has no chat template" in err


def test_oldest_exchanges_go_when_the_context_is_full(run, llm) -> None:
    llm.max_messages = 3
    _, out, err = run("chat", stdin=b"one\ntwo\nthree\n")
    assert out.endswith("you said: three\n")
    assert "the oldest 2 messages were dropped" in err
    assert [message["content"] for message in llm.prompts[-1]] == ["two", "you said: two", "three"]


def test_a_message_that_never_fits_is_reported_and_forgotten(run, llm) -> None:
    llm.max_messages = 0
    code, out, err = run("chat", stdin=b"one\ntwo\n")
    assert (code, out) == (0, "")
    assert err.count("redline: error: too long") == 2


def test_interrupt_stops_the_answer_and_keeps_what_was_said() -> None:
    class Interrupted(FakeLLM):
        closed = False

        def stream(self, prompt: object, params: SamplingParams) -> Iterator[Delta]:
            try:
                yield Delta(request_id="r", text="first")
                os.kill(os.getpid(), signal.SIGINT)
                yield Delta(request_id="r", text=" second")
                yield Delta(request_id="r", text=" never")
            finally:
                self.closed = True

    before = signal.getsignal(signal.SIGINT)
    llm = Interrupted()
    conversation = Conversation(llm, SamplingParams(), None)  # type: ignore[arg-type]
    assert conversation.ask("hi") == (None, 0)
    assert conversation.messages[-1] == {"role": "assistant", "content": "first second"}
    assert llm.closed, "closing the stream is what aborts the request"
    assert signal.getsignal(signal.SIGINT) is before
