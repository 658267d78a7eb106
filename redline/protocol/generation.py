"""What chat and text completion requests have in common: how tokens are chosen, how the answer is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from redline.protocol.wire import RequestModel, invalid

MAX_CHOICES = 128
MAX_STOP_CHARS = 1024
MAX_TOKEN_IDS = 1024
INT64 = 2**63

_TOKEN_ID = re.compile(r"[0-9]{1,10}", re.ASCII)

Count = Annotated[int, Field(ge=0, lt=2**31)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class StreamOptions(RequestModel):
    """What a stream carries besides text."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"include_obfuscation": (False,)}

    include_usage: bool = False
    continuous_usage_stats: bool = False


class GenerationRequest(RequestModel):
    """Ranges follow the OpenAI API where it states one; the extras (top_k ...) are named as in vLLM."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention"}
    )
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        # OpenAI
        "store": (False,),
        "service_tier": ("auto", "default"),
        # vLLM
        "use_beam_search": (False,),
        "length_penalty": (1.0, 1),
        "spaces_between_special_tokens": (True,),
        "prompt_logprobs": (),
        "allowed_token_ids": (),
        "bad_words": ([],),
        "logprob_token_ids": (),
        "truncate_prompt_tokens": (),
        "truncation_side": (),
        "structured_outputs": (),
        "guided_json": (),
        "guided_regex": (),
        "guided_choice": (),
        "guided_grammar": (),
        "priority": (0,),
        "request_id": (),
        "return_tokens_as_token_ids": (False,),
        "thinking_token_budget": (),
        "include_reasoning": (True,),
        "response_format": ({"type": "text"},),
        # SGLang
        "regex": (),
        "ebnf": (),
        "rid": (),
        "lora_path": (),
        "custom_logit_processor": (),
        # llama.cpp
        "grammar": ("",),
        "json_schema": (),
        "n_predict": (-1,),
        "cache_prompt": (True,),
        "id_slot": (-1,),
        "timings_per_token": (False,),
        "return_progress": (False,),
        "samplers": (),
        "mirostat": (0,),
        "typical_p": (1.0, 1),
    }

    model: Annotated[str, Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] = 0
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: Annotated[list[Count], Field(max_length=MAX_TOKEN_IDS)] = []
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    min_tokens: Count = 0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] = 1.0
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = {}
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    return_token_ids: bool = False
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_strings(cls, value: object) -> object:
        strings = [value] if isinstance(value, str) else value
        if not isinstance(strings, list) or not all(isinstance(text, str) for text in strings):
            raise invalid("stop", "it should be a string or a list of strings")
        if not all(1 <= len(text) <= MAX_STOP_CHARS for text in strings):
            raise invalid("stop", f"each string should have 1 to {MAX_STOP_CHARS} characters")
        return tuple(strings)

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _token_keys(cls, value: object) -> object:
        """JSON has only string keys."""
        if not isinstance(value, dict) or len(value) > MAX_TOKEN_IDS:
            raise invalid("bias", f"it should map up to {MAX_TOKEN_IDS} token ids to numbers")
        for key in value:
            if not _TOKEN_ID.fullmatch(key):
                raise invalid("bias", "its keys should be token ids", key, value)
        return {int(key): bias for key, bias in value.items()}

    @model_validator(mode="before")
    @classmethod
    def _stream_options_need_a_stream(cls, data: Any) -> Any:
        if (
            isinstance(data, dict)
            and data.get("stream_options") is not None
            and data.get("stream") is not True
        ):
            raise invalid("stream", "it is only allowed when stream is true", "stream_options", data)
        return data

    @property
    def include_usage(self) -> bool:
        """True when the stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def continuous_usage(self) -> bool:
        """True when every chunk carries the usage so far."""
        return self.stream_options is not None and self.stream_options.continuous_usage_stats
