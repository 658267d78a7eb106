"""The one field that all requests to a model share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from redline.protocol.wire import RequestModel


class NamedRequest(RequestModel):
    """Any request, of which only the model's name is looked at."""

    model: Annotated[str, Field(min_length=1)]
