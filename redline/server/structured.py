"""The form of an answer: from the field that asked for it to SamplingParams, and errors back to it."""

from __future__ import annotations

from redline.config.structured import StructuredOutputsParams
from redline.errors import RequestError
from redline.protocol.structured import StructuredFields

OURS = "structured_outputs"


def structured_outputs(request: StructuredFields) -> StructuredOutputsParams | None:
    """Raises RequestError naming the client's field."""
    if request.form is None:
        return None
    try:
        return StructuredOutputsParams(**request.form.values)
    except RequestError as error:
        rename_form(request, error)
        raise


def rename_form(request: StructuredFields, error: RequestError) -> None:
    """Make an error about the form name the field that the client sent."""
    form, param = request.form, error.param
    if form is None or param is None or param.partition(".")[0] != OURS or form.field == OURS:
        return
    error.args = (str(error).replace(param, form.field),)
    error.param = form.field
