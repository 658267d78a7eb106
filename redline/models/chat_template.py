"""ChatTemplate: a conversation as the text, or the token ids, that its model was trained on.

Control tokens and content. A template writes control tokens around the messages, so its text is encoded
with control tokens recognised. What a message says must not become one: a user who types "<|im_end|>" has
typed ten characters. Every string of the conversation is therefore searched before rendering, and where it
spells a control token, or ends with the beginning of one, a mark is put inside: a character that Unicode
reserves for internal use and that occurs nowhere in the conversation. It travels through the template,
breaks the spelling in the rendered text, and is taken out again when the text is encoded. Conversations
without such strings, nearly all, are rendered and encoded exactly as `transformers` does.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError

from redline.errors import ModelFileError, RequestError
from redline.models.template_budget import BudgetExceeded
from redline.models.template_sandbox import BoundedEnvironment

if TYPE_CHECKING:
    from redline.models.tokenizer import Tokenizer

MAX_TEMPLATE = 256 * 1024  # characters; the longest published ones have 30,000
MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # noncharacters
KNOWN_ROLES = {
    "assistant",
    "developer",
    "function",
    "ipython",
    "model",
    "observation",
    "system",
    "tool",
    "user",
}

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]]


class ChatTemplate:
    """A compiled template. Rendering may happen in several threads at once, and costs are bounded.

    `reads` are the names of all variables that it looks at.

    `bos_token`, `eos_token` and others (unk_token ...) are what the template knows under those names. Raises
    ModelFileError when the source is not a template.
    """

    def __init__(
        self,
        source: str,
        bos_token: str | None = None,
        eos_token: str | None = None,
        **other_tokens: str,
    ) -> None:
        if len(source) > MAX_TEMPLATE:
            raise ModelFileError(
                f"the chat template has {len(source)} characters; at most {MAX_TEMPLATE} are accepted"
            )
        self.source = source
        self._tokens = {**other_tokens, "bos_token": bos_token or "", "eos_token": eos_token or ""}
        try:
            self._code = BoundedEnvironment().compile_bounded(source)
            self.reads = _names_read(source)
        except Exception as error:  # Jinja and Python refuse in a dozen ways; the file is at fault in all
            raise ModelFileError(
                f"the chat template is not valid Jinja: {_described(error)}; --chat-template gives another"
            ) from error

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> ChatTemplate | None:
        """The template that came with the tokenizer, if one did."""
        if tokenizer.chat_template is None:
            return None
        return cls(tokenizer.chat_template, **tokenizer.template_tokens)

    def render(
        self,
        messages: Messages,
        add_generation_prompt: bool = True,
        tools: Tools | None = None,
        **variables: Any,
    ) -> str:
        """The conversation as text; `variables` are what else the template can use.

        Raises RequestError when the template refuses the messages, fails on them, or costs too much;
        ModelFileError when it tries to leave its sandbox.
        """
        env = BoundedEnvironment()
        template = Template.from_code(env, self._code, env.make_globals(None))
        known = {"messages": messages, "tools": tools, "add_generation_prompt": add_generation_prompt}
        try:
            return template.render({**self._tokens, **variables, **known})
        except SecurityError as error:
            raise ModelFileError(f"the chat template leaves its sandbox: {error}") from error
        except (BudgetExceeded, MemoryError) as error:
            raise RequestError(
                f"the chat template, or the conversation, costs too much: {_described(error)}",
                param="messages",
            ) from error
        except TemplateError as error:
            raise RequestError(f"the chat template refuses: {_described(error)}", param="messages") from error
        except Exception as error:  # whatever a template can do wrong with messages that it did not expect
            raise RequestError(
                f"the chat template cannot render these messages: {_described(error)}", param="messages"
            ) from error

    def encode_chat(
        self,
        tokenizer: Tokenizer,
        messages: Messages,
        add_generation_prompt: bool = True,
        tools: Tools | None = None,
        *,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> list[int]:
        """Token ids of the conversation; what it says cannot become a control token (see above).

        With `continue_final_message` they end where the content of the last message does. Raises as `render`
        does, and RequestError for content that is not valid Unicode.
        """
        _check_messages(messages)
        _check_roles(tokenizer, messages)
        said = [messages, tools, variables]
        mark, *ends = _unused_marks(said, 1 + continue_final_message)
        messages, tools, variables = _each_text(said, lambda text: tokenizer.control_tokens.mark(text, mark))
        if continue_final_message:
            messages = [*messages[:-1], {**messages[-1], "content": f"{messages[-1]['content']}{ends[0]}"}]
        text = self.render(messages, add_generation_prompt, tools, **variables)
        if continue_final_message:
            text = _before(ends[0], text)
        if mark in text:
            return tokenizer.encode_marked(text, mark)
        return tokenizer.encode(text, add_special_tokens=False, parse_special=True)


def _names_read(source: str) -> frozenset[str]:
    """Every variable that a template looks at; its own are among them."""
    found = BoundedEnvironment().parse(source).find_all(nodes.Name)
    return frozenset(name.name for name in found if name.ctx == "load")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages must be a list with at least one message", param="messages")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(
                f"messages[{place}] must be an object with a role, a word such as user or assistant",
                param="messages",
            )


def _check_roles(tokenizer: Tokenizer, messages: Messages) -> None:
    """Some templates write <|role|>: a role that completes a control token would be one."""
    for place, role in enumerate(message["role"] for message in messages):
        inside = None if role in KNOWN_ROLES else tokenizer.control_tokens.interior(role)
        if inside is not None:
            raise RequestError(
                f"messages[{place}].role is {role!r}, a part of the control token {inside!r}; use a role "
                "such as system, user, assistant or tool",
                param="messages",
            )


def _unused_marks(said: Any, count: int) -> list[str]:
    texts: list[str] = []
    _each_text(said, lambda text: texts.append(text) or "")  # type: ignore[func-returns-value]
    unused = (mark for mark in MARKS if not any(mark in text for text in texts))
    free = list(islice(unused, count))
    if len(free) < count:
        raise RequestError(
            "the messages use all of the noncharacters U+FDD0 to U+FDEF; leave one out", param="messages"
        )
    return free


def _before(end: str, text: str) -> str:
    """The text up to the mark that ends the last message."""
    before, found, _ = text.rpartition(end)
    if not found:
        raise RequestError(
            "the chat template does not write the content of the last message, so it cannot be continued",
            param="continue_final_message",
        )
    return before


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of nested lists and dicts with every text in it, keys included, changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {_each_text(key, change): _each_text(item, change) for key, item in value.items()}
    return value


def _described(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) < 500 else f"{text[:500]}..."
