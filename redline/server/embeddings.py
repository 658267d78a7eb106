"""`POST /v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from starlette.types import Scope

from redline.config.pooling import PoolingParams
from redline.errors import RequestError
from redline.protocol.embeddings import Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage
from redline.protocol.wire import UnsupportedParameter
from redline.server.authentication import caller_of
from redline.server.call import CallEndpoint
from redline.server.job import Job
from redline.server.request_log import request_id_of
from redline.server.request_record import record_of
from redline.server.standing import Standing, standing
from redline.server.truncation import encode_last
from redline.server.waiting import Place

if TYPE_CHECKING:
    from redline.engine.outputs import Delta
    from redline.ops.arrays import F32

AT_ONCE = 64  # inputs of one request in the engine


class EmbeddingsEndpoint(CallEndpoint[EmbeddingRequest]):
    """A vector for each input, by requests of the engine that end after their prompt."""

    request_type = EmbeddingRequest

    def model_of(self, request: EmbeddingRequest) -> str:
        return request.model

    def num_places(self, request: EmbeddingRequest) -> int:
        return min(len(request.input), AT_ONCE)

    async def respond(self, scope: Scope, request: EmbeddingRequest, place: Place) -> str:
        size = self.engine.embedding_size
        if request.dimensions not in (None, size):
            raise UnsupportedParameter(
                f"dimensions is {request.dimensions}; vectors of this model have {size} and cannot be cut",
                param="dimensions",
            )
        stands = standing(request, caller_of(scope), self.service)
        prompts = await asyncio.to_thread(self._encode, request)
        record_of(scope).prompt_tokens = sum(map(len, prompts))
        place.weigh([sum(map(len, prompts[first::AT_ONCE])) for first in range(self.num_places(request))])
        vectors: list[F32] = []
        for start in range(0, len(prompts), AT_ONCE):
            job = _job(scope, request, stands, start, prompts[start : start + AT_ONCE])
            vectors += await self._run(job, place)
        return await self.service.aside(_body, (request, prompts, vectors))

    def _encode(self, request: EmbeddingRequest) -> list[list[int]]:
        encoded = []
        inputs: Sequence[str | list[int]] = request.input
        num_kept = request.num_kept(self.engine.max_context)
        for place, prompt in enumerate(inputs):
            try:
                encoded.append(encode_last(self.engine, prompt, num_kept))
            except RequestError as error:
                error.param = f"input[{place}]" if len(inputs) > 1 else "input"
                raise
        return encoded

    async def _run(self, job: Job, place: Place) -> list[F32]:
        last: dict[int, Delta] = {}
        async with aclosing(self.service.deltas(job, place)) as deltas:
            async for number, delta in deltas:
                last[number] = delta
        return [cast("F32", last[number].embedding) for number in range(len(job.prompts))]


def _job(
    scope: Scope, request: EmbeddingRequest, stands: Standing, start: int, prompts: list[list[int]]
) -> Job:
    """One for the inputs from `start` on."""
    return Job(
        id=f"embd-{request_id_of(scope)}",
        created=int(time.time()),
        model=request.model,
        prompts=prompts,
        first_prompt=start,
        params=PoolingParams(),
        cache_salt=stands.cache_salt,
        priority=stands.priority,
        tenant=stands.tenant,
        record=record_of(scope),
    )


def _body(result: tuple[EmbeddingRequest, list[list[int]], list[F32]]) -> str:
    """JSON; of many vectors it takes a while."""
    request, prompts, vectors = result
    written = _in_base64 if request.encoding_format == "base64" else _in_numbers
    num_tokens = sum(map(len, prompts))
    response = EmbeddingResponse(
        object="list",
        data=[
            Embedding(object="embedding", index=index, embedding=written(vector_D))
            for index, vector_D in enumerate(vectors)
        ],
        model=request.model,
        usage=EmbeddingUsage(prompt_tokens=num_tokens, total_tokens=num_tokens),
    )
    return response.to_json()


def _in_numbers(vector_D: F32) -> list[float] | str:
    numbers: list[float] = vector_D.tolist()
    return numbers


def _in_base64(vector_D: F32) -> list[float] | str:
    return base64.b64encode(vector_D.astype("<f4").tobytes()).decode()
