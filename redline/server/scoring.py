"""`POST /v1/score` and `/rerank`: documents by how likely they make a question.

The score is the query likelihood (Ponte and Croft, 1998) as Sachan et al. (2022) take it from a language
model: the geometric mean of the probabilities of the question's tokens behind the document,
exp(1/n sum_i log P(q_i | document, q_1 .. q_{i-1})), so it lies between 0 and 1.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from starlette.types import Scope

from redline.config.sampling import SamplingParams
from redline.errors import RequestError
from redline.protocol.embeddings import EmbeddingUsage
from redline.protocol.scoring import (
    PairsRequest,
    RankedDocument,
    RankedResult,
    RerankRequest,
    RerankResponse,
    Score,
    ScoreRequest,
    ScoreResponse,
)
from redline.protocol.wire import ResponseModel
from redline.server.authentication import caller_of
from redline.server.call import CallEndpoint
from redline.server.job import Job
from redline.server.logprobs import finite
from redline.server.request_log import request_id_of
from redline.server.request_record import record_of
from redline.server.standing import Standing, standing
from redline.server.waiting import Place

R = TypeVar("R", bound=PairsRequest)

AT_ONCE = 64  # pairs of one request in the engine
BETWEEN = "\n\n"  # a document and a question


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A document and, from token `start` on, its question."""

    token_ids: list[int]
    start: int


class PairsEndpoint(CallEndpoint[R]):
    """Each pair is a prompt that ends with the question, of which only the question is scored."""

    id_prefix: ClassVar[str]

    @abstractmethod
    def told(self, request: R, request_id: str, scores: list[float], usage: EmbeddingUsage) -> ResponseModel:
        """The answer."""

    def model_of(self, request: R) -> str:
        return request.model

    def num_places(self, request: R) -> int:
        return min(len(request.pairs()), AT_ONCE)

    async def respond(self, scope: Scope, request: R, place: Place) -> str:
        stands = standing(request, caller_of(scope), self.service)
        pairs = await asyncio.to_thread(self._encode, request)
        num_tokens = sum(len(pair.token_ids) for pair in pairs)
        record_of(scope).prompt_tokens = num_tokens
        waiting = range(self.num_places(request))
        place.weigh([sum(len(pair.token_ids) for pair in pairs[first::AT_ONCE]) for first in waiting])
        scores: list[float] = []
        for start in range(0, len(pairs), AT_ONCE):
            some = pairs[start : start + AT_ONCE]
            job = self._job(scope, request, stands, start, some)
            scores += await self._run(job, some, place)
        usage = EmbeddingUsage(prompt_tokens=num_tokens, total_tokens=num_tokens)
        return self.told(request, self._id(scope), scores, usage).to_json()

    def _id(self, scope: Scope) -> str:
        return self.id_prefix + request_id_of(scope)

    def _job(
        self, scope: Scope, request: R, stands: Standing, start: int, pairs: Sequence[EncodedPair]
    ) -> Job:
        """One for the pairs from `start` on."""
        each = [
            SamplingParams(max_tokens=0, prompt_logprobs=0, logprob_start_len=pair.start) for pair in pairs
        ]
        return Job(
            id=self._id(scope),
            created=int(time.time()),
            model=request.model,
            prompts=[pair.token_ids for pair in pairs],
            params=each[0],
            first_prompt=start,
            each_params=each,
            cache_salt=stands.cache_salt,
            priority=stands.priority,
            tenant=stands.tenant,
            record=record_of(scope),
        )

    def _encode(self, request: R) -> list[EncodedPair]:
        tokenizer = self.engine.tokenizer
        encoded = []
        for number, (question, document) in enumerate(request.pairs()):
            before = [*tokenizer.prefix_ids, *tokenizer.encode(document + BETWEEN, False)]
            try:
                asked = tokenizer.encode(question, False)
                if not asked:
                    raise RequestError("the question has no tokens; there is nothing to score")
                ids = self.engine.encode_prompt([*before, *asked])
            except RequestError as error:
                error.param = request.name_of(number)
                error.args = (f"{error.param}, together with its question: {error}",)
                raise
            encoded.append(EncodedPair(ids, len(before)))
        return encoded

    async def _run(self, job: Job, pairs: list[EncodedPair], place: Place) -> list[float]:
        scores = [0.0] * len(pairs)
        async with aclosing(self.service.deltas(job, place)) as deltas:
            async for number, delta in deltas:
                if delta.prompt_logprobs is not None:
                    scored = delta.prompt_logprobs[pairs[number].start :]
                    logprobs = [finite(entry.logprob) for entry in scored if entry is not None]
                    scores[number] = math.exp(math.fsum(logprobs) / len(logprobs))
        return scores


class ScoreEndpoint(PairsEndpoint[ScoreRequest]):
    """In the shape of vLLM."""

    id_prefix = "score-"
    request_type = ScoreRequest

    def told(
        self, request: ScoreRequest, request_id: str, scores: list[float], usage: EmbeddingUsage
    ) -> ResponseModel:
        data = [Score(index=index, object="score", score=score) for index, score in enumerate(scores)]
        created = int(time.time())
        return ScoreResponse(
            id=request_id, object="list", created=created, model=request.model, data=data, usage=usage
        )


class RerankEndpoint(PairsEndpoint[RerankRequest]):
    """In the shape of Jina and Cohere."""

    id_prefix = "rerank-"
    request_type = RerankRequest

    def told(
        self, request: RerankRequest, request_id: str, scores: list[float], usage: EmbeddingUsage
    ) -> ResponseModel:
        best_first = sorted(range(len(scores)), key=lambda index: -scores[index])
        results = [RankedResult(index=index, relevance_score=scores[index]) for index in best_first]
        results = results[: request.top_n or None]
        if request.return_documents:
            for result in results:
                result.document = RankedDocument(text=request.documents[result.index])
        return RerankResponse(id=request_id, model=request.model, results=results, usage=usage)
