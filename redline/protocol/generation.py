"""What chat and text completion requests have in common: how tokens are chosen, how the answer is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from redline.protocol.structured import StructuredFields
from redline.protocol.truncation import TruncationFields
from redline.protocol.wire import RequestModel, ResponseModel, invalid

MAX_CHOICES = 128
MAX_STOP_CHARS = 1024
MAX_TOKEN_IDS = 1024
MAX_ALLOWED_TOKEN_IDS = 16384
MAX_PROMPT_LOGPROBS = 20
MAX_PRIORITY = 10**6
INT64 = 2**63

_TOKEN_ID = re.compile(r"[0-9]{1,10}", re.ASCII)

Count = Annotated[int, Field(ge=0, lt=2**31)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]

# What clients send where it differs from what becomes of it; for the description of the API.
StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
BiasOfTokens = Annotated[
    dict[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], Bias], Field(max_length=MAX_TOKEN_IDS)
]


class StreamOptions(RequestModel):
    """What a stream carries besides text."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"include_obfuscation": (False,)}

    include_usage: bool = False
    continuous_usage_stats: bool = False


class GenerationRequest(StructuredFields, TruncationFields):
    """Ranges follow the OpenAI API where it states one; the extras are named as in vLLM and llama.cpp.

    docs/sampling.md says what each does. How many strings and how long is for SamplingParams to check.
    """

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention"}
    )
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        # OpenAI
        "store": (False,),
        "service_tier": ("auto", "default"),
        # vLLM
        "spaces_between_special_tokens": (True,),
        "logits_processors": ([],),  # code from a client is never run
        "logprob_token_ids": (),
        "truncation_side": ("left",),
        "request_id": (),
        "thinking_token_budget": (),
        "guided_decoding_backend": (),
        # SGLang
        "logprob_start_len": (-1, 0),
        "rid": (),
        "lora_path": (),
        "custom_logit_processor": (),
        # llama.cpp
        "n_predict": (-1,),
        "cache_prompt": (True,),
        "id_slot": (-1,),
        "timings_per_token": (False,),
        "return_progress": (False,),
        "samplers": (),
    }

    model: Annotated[str, Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] = 0
    typical_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_n_sigma: Annotated[float, Field(ge=-1, le=100)] = -1.0
    xtc_probability: Annotated[float, Field(ge=0, le=1)] = 0.0
    xtc_threshold: Annotated[float, Field(ge=0, le=1)] = 0.1
    mirostat: Annotated[int, Field(ge=0, le=2)] = 0
    mirostat_tau: Annotated[float, Field(ge=0, le=100)] = 5.0
    dola_layer: Annotated[int, Field(ge=1, le=1024)] | None = None
    mirostat_eta: Annotated[float, Field(ge=0, le=1)] = 0.1
    dry_multiplier: Annotated[float, Field(ge=0, le=100)] = 0.0
    dry_base: Annotated[float, Field(ge=1, le=100)] = 1.75
    dry_allowed_length: Annotated[int, Field(ge=1, lt=2**31)] = 2
    dry_penalty_last_n: Annotated[int, Field(ge=-1, lt=2**31)] = -1
    dry_sequence_breakers: list[str] = ["\n", ":", '"', "*"]
    bad_words: list[str] = []
    allowed_token_ids: Annotated[list[Count], Field(max_length=MAX_ALLOWED_TOKEN_IDS)] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: Annotated[list[Count], Field(max_length=MAX_TOKEN_IDS)] = []
    max_tokens: Count | None = None
    min_tokens: Count = 0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] = 1.0
    prompt_logprobs: Annotated[int, Field(ge=0, le=MAX_PROMPT_LOGPROBS)] | None = None
    logit_bias: dict[int, Bias] = {}
    use_beam_search: bool = False
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    length_penalty: Annotated[float, Field(ge=-10, le=10)] = 1.0
    early_stopping: bool | Literal["never"] = False
    num_beam_groups: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    diversity_penalty: Annotated[float, Field(ge=0, le=100)] = 0.0
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = False
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @field_validator("stop", mode="before", json_schema_input_type=str | list[StopString])
    @classmethod
    def _stop_strings(cls, value: object) -> object:
        strings = [value] if isinstance(value, str) else value
        if not isinstance(strings, list) or not all(isinstance(text, str) for text in strings):
            raise invalid("stop", "it should be a string or a list of strings")
        if not all(1 <= len(text) <= MAX_STOP_CHARS for text in strings):
            raise invalid("stop", f"each string should have 1 to {MAX_STOP_CHARS} characters")
        return tuple(strings)

    @field_validator("early_stopping", mode="before", json_schema_input_type=bool | Literal["never"])
    @classmethod
    def _known_rule(cls, value: object) -> object:
        if not isinstance(value, bool) and value != "never":
            raise invalid("early_stopping", "it should be true, false or 'never'")
        return value

    @field_validator("logit_bias", mode="before", json_schema_input_type=BiasOfTokens)
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


class ScoredChoice(ResponseModel):
    """An answer, or a chunk of one; beam search says how likely it is, and by what score it was ranked."""

    cumulative_logprob: float | None = None
    score: float | None = None
