"""Fields that not every model, template or client knows of."""

import json

import pytest

from tests.server.fake_engine import ByteTokenizer, FakeEngine
from tests.server.running_server import RunningServer

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MODEL = {"model": "fake-model"}
MESSAGES = [{"role": "user", "content": "SAY:hi"}]
FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


class FillingTokenizer(ByteTokenizer):
    """Has control tokens for filling in; they are bytes that no text has."""

    def encode(self, text: str, add_special_tokens: bool = True, *, parse_special: bool = False) -> list[int]:
        if parse_special and text in FIM:
            return [FIM.index(text)]
        return super().encode(text, add_special_tokens, parse_special=parse_special)


def ask(server, path, **fields):
    status, _, body = server.post(path, {**MODEL, **fields})
    return status, json.loads(body)


def test_text_is_filled_in_where_the_model_has_tokens_for_it():
    engine = FakeEngine()
    engine.tokenizer = FillingTokenizer()
    with RunningServer(engine) as server:
        status, answer = ask(server, COMPLETIONS, prompt=["ab", "cd"], suffix="yz", max_tokens=3, echo=True)
        assert status == 200 and [choice["text"][:2] for choice in answer["choices"]] == ["ab", "cd"]
        assert [prompt for prompt, _ in engine.seen] == [[0, *b"ab", 1, *b"yz", 2], [0, *b"cd", 1, *b"yz", 2]]
        ask(server, COMPLETIONS, prompt=list(b"ab"), suffix="<|fim_middle|>", max_tokens=3)
        assert engine.seen[-1][0] == [0, *b"ab", 1, *b"<|fim_middle|>", 2]


def test_a_suffix_is_refused_where_it_has_none(server):
    status, answer = ask(server, COMPLETIONS, prompt="ab", suffix="yz")
    assert (status, answer["error"]["param"], answer["error"]["code"]) == (
        400,
        "suffix",
        "unsupported_parameter",
    )
    assert ask(server, COMPLETIONS, prompt="ab", suffix="", max_tokens=1)[0] == 200


def test_tokens_are_named_by_their_ids_for_those_who_ask(server):
    asked = {"logprobs": 2, "max_tokens": 2, "return_tokens_as_token_ids": True}
    _, answer = ask(server, COMPLETIONS, prompt="SAY:hi", echo=True, **asked)
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["tokens"] == [f"token_id:{byte}" for byte in b"SAY:hihi"]
    assert all(name.startswith("token_id:") for top in logprobs["top_logprobs"][1:] for name in top)
    asked = {"logprobs": True, "top_logprobs": 2, "max_tokens": 2, "return_tokens_as_token_ids": True}
    _, answer = ask(server, CHAT, messages=MESSAGES, **asked)
    entries = answer["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == ["token_id:104", "token_id:105"]
    assert [bytes(entry["bytes"]) for entry in entries] == [b"h", b"i"]


def test_how_the_prompt_ends_and_its_documents_reach_the_template(server):
    begun = [*MESSAGES, {"role": "assistant", "content": "so"}]
    documents = [{"title": "t", "text": "x"}]
    fields = {"messages": begun, "max_tokens": 2, "documents": documents}
    assert ask(server, CHAT, **fields, add_generation_prompt=False, continue_final_message=True)[0] == 200
    assert server.engine.generation_prompts[-1] == (False, True)
    assert server.engine.rendered[-1][2] == {"documents": documents}
    assert ask(server, "/v1/messages", messages=begun, max_tokens=2)[0] == 200
    assert server.engine.generation_prompts[-1] == (False, True)
    assert ask(server, CHAT, messages=begun, max_tokens=2)[0] == 200
    assert server.engine.generation_prompts[-1] == (True, False)


def test_the_names_of_those_who_speak_reach_the_template(server):
    """A template may show them; to leave them out in silence would mix up who said what."""
    said = [
        {"role": "system", "content": "a"},
        {"role": "user", "name": "alice", "content": "b"},
        {"role": "assistant", "name": "helper", "content": "c"},
        {"role": "user", "name": "bob", "content": "d"},
    ]
    assert ask(server, CHAT, messages=said, max_tokens=1)[0] == 200
    assert [message.get("name") for message in server.engine.rendered[-1][0]] == [
        None, "alice", "helper", "bob"
    ]  # fmt: skip


def test_no_alternatives_without_logprobs_change_nothing(server):
    """Some clients fill in every field with its default."""
    status, answer = ask(server, CHAT, messages=MESSAGES, logprobs=False, top_logprobs=0)
    assert status == 200 and answer["choices"][0]["logprobs"] is None
    status, answer = ask(server, CHAT, messages=MESSAGES, top_logprobs=1)
    assert (status, answer["error"]["param"]) == (400, "top_logprobs")


def test_a_conversation_is_shown_as_the_model_sees_it(server):
    _, answer = ask(server, "/apply-template", messages=MESSAGES)
    assert answer == {"prompt": "[user]SAY:hi[assistant]"}
    _, answer = ask(server, "/apply-template", messages=MESSAGES, add_generation_prompt=False)
    assert answer == {"prompt": "[user]SAY:hi"}
    status, answer = ask(server, "/apply-template", messages=[])
    assert (status, answer["error"]["param"]) == (400, "messages")


ACCEPTED = {  # values that change nothing
    "store": False,
    "metadata": {"a": "b"},
    "service_tier": "auto",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "user": "u",
    "stream_options": None,
    "truncate_prompt_tokens": None,
    "truncation_side": "left",
    "thinking_token_budget": None,
    "priority": 0,
    "n": 1,
    "best_of": None,
}
REFUSED = {
    "store": True,
    "service_tier": "priority",
    "truncate_prompt_tokens": 0,
    "truncation_side": "right",
    "thinking_token_budget": 5,
    "logprob_token_ids": [1],
    "request_id": "mine",
    "id_slot": 1,
}


@pytest.mark.parametrize(
    "path, fields", [(CHAT, {"messages": MESSAGES}), (COMPLETIONS, {"prompt": "SAY:hi"})]
)
def test_known_fields_are_accepted_where_they_change_nothing_and_else_refused_by_name(server, path, fields):
    assert ask(server, path, **fields, **ACCEPTED)[0] == 200
    for name, value in REFUSED.items():
        status, answer = ask(server, path, **fields, **{name: value})
        assert (status, answer["error"]["param"]) == (400, name), answer
    obfuscated = {"stream": True, "stream_options": {"include_obfuscation": True}}
    assert (
        ask(server, path, **fields, **obfuscated)[1]["error"]["param"] == "stream_options.include_obfuscation"
    )
