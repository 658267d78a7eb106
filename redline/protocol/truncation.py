"""The field that shortens a prompt that is too long, as vLLM names it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from redline.protocol.wire import RequestModel, invalid

MODEL_MAXIMUM = -1


class TruncationFields(RequestModel):
    """`truncate_prompt_tokens`: so many tokens of each prompt stay, the last ones. -1: as many as fit."""

    truncate_prompt_tokens: int | None = None

    @field_validator(
        "truncate_prompt_tokens",
        mode="before",
        json_schema_input_type=Literal[-1] | Annotated[int, Field(ge=1, lt=2**31)],
    )
    @classmethod
    def _some_stay(cls, value: object) -> object:
        if not isinstance(value, int) or value == MODEL_MAXIMUM:
            return value  # what is no integer is named by the field's own check
        if not 1 <= value < 2**31:
            raise invalid("truncation", f"it should be -1, as many as fit, or from 1 to {2**31 - 1}")
        return value

    def num_kept(self, room: int) -> int | None:
        """How many of the last tokens of a prompt stay where there is `room` for so many; None: all."""
        if self.truncate_prompt_tokens == MODEL_MAXIMUM:
            return max(1, room)
        return self.truncate_prompt_tokens
