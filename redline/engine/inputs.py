"""Prompts become token ids here, and everything that can be wrong with one is said here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redline.config.sampling import SamplingParams
from redline.errors import ContextLengthError, RequestError
from redline.models.chat_template import ChatTemplate
from redline.models.tokenizer import Tokenizer

Prompt = str | Sequence[int]
MAX_PROMPT_BYTES_PER_TOKEN = 64  # longer text cannot fit the context; refused before it is tokenised


class PromptEncoder:
    """Turns text, token ids or chat messages into checked token ids."""

    def __init__(
        self, tokenizer: Tokenizer, chat_template: ChatTemplate | None, vocab_size: int, max_context: int
    ) -> None:
        self._tokenizer = tokenizer
        self._template = chat_template
        self._vocab_size = vocab_size
        self._max_context = max_context

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt. Raises RequestError when it is empty, malformed or too long."""
        if isinstance(prompt, str):
            self._check_text(prompt)
            return self._check_known(self._tokenizer.encode(prompt))
        return self._check_ids(prompt)

    def encode_chat(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> list[int]:
        """Token ids of a conversation, through the model's chat template, which reads `variables` too."""
        token_ids = self.tokenize_chat(
            messages,
            tools,
            variables,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )
        return self._check_known(token_ids)

    def tokenize_chat(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> list[int]:
        """The same, for whoever wants to count them: nobody asks whether the model could take them."""
        if self._template is None:
            raise RequestError(
                "this model has no chat template; send a plain prompt (completions) instead", param="messages"
            )
        if not messages:
            raise RequestError("messages is empty; send at least one message", param="messages")
        _check_read(self._template, messages, tools, variables or {})
        return self._template.encode_chat(
            self._tokenizer,
            messages,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            tools=tools,
            **(variables or {}),
        )

    def check_params(self, prompt_token_ids: list[int], params: SamplingParams) -> None:
        """Refuse parameters that do not fit this model or this prompt."""
        if not isinstance(params, SamplingParams):
            raise RequestError(f"params is {params!r:.80}; it must be SamplingParams", param="params")
        for name in ("logit_bias", "stop_token_ids", "allowed_token_ids"):
            for token_id in getattr(params, name) or ():
                if token_id >= self._vocab_size:
                    raise RequestError(
                        f"{name} has token id {token_id}; the vocabulary ends at {self._vocab_size - 1}",
                        param=name,
                    )
        if params.logprob_start_len > len(prompt_token_ids):
            raise RequestError(
                f"logprob_start_len is {params.logprob_start_len}, but the prompt has "
                f"{len(prompt_token_ids)} tokens",
                param="logprob_start_len",
            )
        if params.max_tokens != 0:
            self._check_room(prompt_token_ids, params)

    def _check_room(self, prompt_token_ids: list[int], params: SamplingParams) -> None:
        """Refuse a prompt behind which the wanted tokens have no place."""
        if len(prompt_token_ids) >= self._max_context:
            raise self._too_long(len(prompt_token_ids), ", the answer included")
        total = len(prompt_token_ids) + (params.max_tokens or 1)
        if total > self._max_context:
            raise ContextLengthError(
                f"the prompt has {len(prompt_token_ids)} tokens and max_tokens is {params.max_tokens}, "
                f"together {total}; {self._limit()}. Shorten the prompt or lower max_tokens",
                param="max_tokens",
                num_prompt_tokens=len(prompt_token_ids),
                max_tokens=params.max_tokens,
                max_context=self._max_context,
            )

    def _too_long(self, num_tokens: int, more: str = "") -> ContextLengthError:
        return ContextLengthError(
            f"the prompt has {num_tokens} tokens; {self._limit()}{more}. Shorten the prompt",
            param="prompt",
            num_prompt_tokens=num_tokens,
            max_context=self._max_context,
        )

    def _limit(self) -> str:
        """In OpenAI's words, by which LiteLLM and others know that a shorter prompt would help."""
        return f"this model's maximum context length is {self._max_context} tokens"

    def _check_text(self, text: str) -> None:
        if not text:
            raise RequestError("the prompt is empty; send at least one token", param="prompt")
        if len(text) > self._max_context * MAX_PROMPT_BYTES_PER_TOKEN:
            raise ContextLengthError(
                f"the prompt has {len(text)} characters, too many for any text; {self._limit()}",
                param="prompt",
            )
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError(
                f"the prompt is not valid Unicode at character {error.start} (lone surrogate)", param="prompt"
            ) from None

    def _check_ids(self, prompt: Sequence[int]) -> list[int]:
        if not isinstance(prompt, list | tuple):
            raise RequestError(
                f"the prompt is {type(prompt).__name__}; it must be text or a list of token ids",
                param="prompt",
            )
        for place, token_id in enumerate(prompt):
            if isinstance(token_id, bool) or not isinstance(token_id, int):
                raise RequestError(
                    f"token {place} of the prompt is {token_id!r}; it must be an integer", param="prompt"
                )
            if not 0 <= token_id < self._vocab_size:
                raise RequestError(
                    f"token {place} of the prompt is {token_id}; "
                    f"ids lie between 0 and {self._vocab_size - 1}",
                    param="prompt",
                )
        return self._check_length(list(prompt))

    def _check_known(self, token_ids: list[int]) -> list[int]:
        """What the tokenizer gave; some have tokens that the model's matrices have no row for."""
        highest = max(token_ids, default=0)
        if highest >= self._vocab_size:
            raise RequestError(
                f"the prompt holds token {highest} of the tokenizer, but the model ends at "
                f"{self._vocab_size - 1}; leave that token out",
                param="prompt",
            )
        return self._check_length(token_ids)

    def _check_length(self, token_ids: list[int]) -> list[int]:
        if not token_ids:
            raise RequestError("the prompt is empty; send at least one token", param="prompt")
        if len(token_ids) > self._max_context:
            raise self._too_long(len(token_ids))
        return token_ids


def _check_read(
    template: ChatTemplate,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    variables: Mapping[str, Any],
) -> None:
    """Refuse what the template would pass over in silence."""
    if tools and "tools" not in template.reads:
        raise RequestError(
            "the model's chat template has no place for tools, so the model would not see them; leave them "
            "out and describe them in a message",
            param="tools",
        )
    for name in variables:
        if name not in template.reads:
            raise RequestError(f"the model's chat template does not read {name}; leave it out", param=name)
    if "tool_calls" in template.source or not isinstance(messages, list):
        return
    for place, message in enumerate(messages):
        if isinstance(message, dict) and message.get("tool_calls"):
            raise RequestError(
                f"messages[{place}] has tool_calls, for which the model's chat template has no place; write "
                "them as content",
                param=f"messages[{place}].tool_calls",
            )
