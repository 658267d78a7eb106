"""Prompts become token ids here, and everything that can be wrong with one is said here."""

from __future__ import annotations

from collections.abc import Sequence
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
        *,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """Token ids of a conversation, through the model's chat template."""
        if self._template is None:
            raise RequestError(
                "this model has no chat template; send a plain prompt (completions) instead", param="messages"
            )
        if not messages:
            raise RequestError("messages is empty; send at least one message", param="messages")
        return self._check_known(
            self._template.encode_chat(
                self._tokenizer, messages, add_generation_prompt=add_generation_prompt, tools=tools
            )
        )

    def check_params(self, prompt_token_ids: list[int], params: SamplingParams) -> None:
        """Refuse parameters that do not fit this model or this prompt."""
        if not isinstance(params, SamplingParams):
            raise RequestError(f"params is {params!r:.80}; it must be SamplingParams", param="params")
        for name, ids in (("logit_bias", params.logit_bias), ("stop_token_ids", params.stop_token_ids)):
            for token_id in ids:
                if token_id >= self._vocab_size:
                    raise RequestError(
                        f"{name} has token id {token_id}; the vocabulary ends at {self._vocab_size - 1}",
                        param=name,
                    )
        total = len(prompt_token_ids) + (params.max_tokens or 1)
        if total > self._max_context:
            raise ContextLengthError(
                f"the prompt has {len(prompt_token_ids)} tokens and max_tokens is {params.max_tokens}, "
                f"together {total}; the context holds {self._max_context}. Shorten the prompt or lower "
                "max_tokens",
                param="max_tokens",
            )

    def _check_text(self, text: str) -> None:
        if not text:
            raise RequestError("the prompt is empty; send at least one token", param="prompt")
        if len(text) > self._max_context * MAX_PROMPT_BYTES_PER_TOKEN:
            raise ContextLengthError(
                f"the prompt has {len(text)} characters; no text that long fits {self._max_context} tokens",
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
        if len(token_ids) >= self._max_context:
            raise ContextLengthError(
                f"the prompt has {len(token_ids)} tokens; the context holds {self._max_context}, the answer "
                "included. Shorten the prompt",
                param="prompt",
            )
        return token_ids
