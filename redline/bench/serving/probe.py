"""probe(): is there a server, does it have the model, does it take the key? Asked before any load is made."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from redline.bench.serving.connection import Connection
from redline.bench.serving.endpoint import Endpoint
from redline.bench.serving.failure import Failed
from redline.bench.serving.http_reader import HttpReader
from redline.errors import ConfigError

TIMEOUT_S = 10.0
SHOWN = 8  # models of a long list


async def probe(endpoint: Endpoint, *, first: bool = False) -> Endpoint:
    """The endpoint, with the model that the server has if none was named, or the `first` of several.

    A server without a list of models is believed to have the one that is named. Raises ConfigError.
    """
    try:
        reader, body = await _get_models(endpoint)
    except Failed as failure:
        raise ConfigError(f"no server at {endpoint.base_url}: {failure.detail or failure.kind}") from None
    if reader.status in (401, 403):
        raise ConfigError(
            f"{endpoint.base_url} answers {reader.status}: it wants "
            + (
                "another API key"
                if endpoint.api_key
                else "an API key, which --api-key-env names a variable of"
            )
        )
    models = _models(body) if reader.status == 200 else None
    if models is None:
        if not endpoint.model:
            raise ConfigError(f"{endpoint.base_url} has no list of models; --model must name one")
        return endpoint
    return replace(endpoint, model=models[0] if first and models else _choose(endpoint, models))


def _choose(endpoint: Endpoint, models: list[str]) -> str:
    shown = ", ".join(models[:SHOWN]) + (", ..." if len(models) > SHOWN else "")
    if endpoint.model and models and endpoint.model not in models:
        raise ConfigError(f"{endpoint.base_url} has no model {endpoint.model!r}; it has {shown}")
    if endpoint.model:
        return endpoint.model
    if len(models) != 1:
        raise ConfigError(f"--model must name one of the models of {endpoint.base_url}: {shown or 'none'}")
    return models[0]


async def _get_models(endpoint: Endpoint) -> tuple[HttpReader, bytes]:
    connection = await Connection.open(endpoint.address, endpoint.tls, TIMEOUT_S)
    reader, body = HttpReader(), bytearray()
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(failure: Failed | None) -> None:
        if not ended.done():
            ended.set_result(None) if failure is None else ended.set_exception(failure)

    def received(data: bytes, at_s: float, lag_s: float | None) -> None:
        try:
            body.extend(reader.feed(data))
        except Failed as failure:
            end(failure)
        if reader.complete:
            end(None)

    def closed(reason: str) -> None:
        try:
            reader.close()
            end(None)
        except Failed as failure:
            end(failure)

    try:
        await connection.send(endpoint.get_models())
        connection.start_reading(received, closed)
        await asyncio.wait_for(ended, TIMEOUT_S)
    except TimeoutError:
        raise Failed("no answer", f"no answer within {TIMEOUT_S:g} s") from None
    except OSError as error:
        raise Failed("connect", str(error)) from None
    finally:
        connection.close()
    return reader, bytes(body)


def _models(body: bytes) -> list[str] | None:
    """Their names; None: the answer is no list of models."""
    try:
        return [str(card["id"]) for card in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
