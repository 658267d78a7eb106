"""FakeEngine: a ServedEngine with deterministic bytes for tokens and time under the test's control."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from redline.config.pooling import PoolingParams
from redline.config.sampling import SamplingParams
from redline.decoding.sampler import TokenLogprob
from redline.engine.outputs import Delta, EngineStats, RequestMetrics
from redline.engine.snapshot import Decision, RequestState, Snapshot
from redline.errors import ContextLengthError, EngineDead, RequestError

LETTERS = "abcdefghij klmnop"
EOS = 256


class ByteTokenizer:
    """One token per byte; 256 is the end of a text, and what a prompt begins with."""

    vocab_size = EOS + 1
    prefix_ids: list[int] = []
    chat_template: str | None = "[{{ role }}]"
    template_tokens = {"bos_token": "</s>", "eos_token": "</s>"}

    def encode(self, text: str, add_special_tokens: bool = True, *, parse_special: bool = False) -> list[int]:
        pieces = text.split("</s>") if parse_special else [text]
        ids = [token for piece in pieces for token in (EOS, *piece.encode())]
        return ids if add_special_tokens else ids[1:]

    def id_to_token(self, token_id: int) -> str | None:
        return f"<{token_id}>"

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return bytes(token for token in ids if token < EOS).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id]) if token_id < EOS else b"</s>"


@dataclass(frozen=True)
class FakeTemplate:
    """Shows formats; the fake engine renders without it."""

    source: str
    reads: tuple[str, ...] = ("tools",)


class FakeEngine:
    """The n-th token depends on the prompt, the seed, the choice and n; nothing else.

    A prompt that contains "SAY:" is answered with the text behind it, then end of text. Each request takes
    one step of `step_s` per token, at most `capacity` at once; the others wait. While `held` no step is
    taken. `die` ends the engine, `bug` is raised by the next step of any request. `standings` are the
    priority and tenant of every request, `salts` their cache salts.
    """

    model_name = "fake-model"
    max_context = 512
    embedding_size = 4

    def __init__(self, step_s: float = 0.0, capacity: int = 64, template: str | None = None) -> None:
        self.tokenizer = ByteTokenizer()
        self.chat_template = None if template is None else FakeTemplate(template)
        self.rendered: list[tuple[Any, Any, Any]] = []
        self.generation_prompts: list[tuple[bool, bool]] = []
        self.explained: set[str] = set()
        self.tenants: dict[str, str] = {}
        self.num_looks = 0  # at what it does
        self.healthy = True
        self.stalled_s = 0.0
        self.order = "fcfs"
        self.held = False
        self.bug: Exception | None = None
        self.stop_reason: str | None = None  # of what ends by itself
        self.step_s = step_s
        self.capacity = capacity
        self.running: dict[str, int] = {}  # request id -> steps taken
        self.waiting: list[str] = []
        self.aborted: dict[str, int] = {}
        self.finished: list[str] = []
        self.seen: list[tuple[list[int], SamplingParams]] = []
        self.salts: list[str] = []
        self.standings: list[tuple[int, str]] = []
        self.num_prompt_tokens = 0
        self.num_output_tokens = 0

    def die(self) -> None:
        self.healthy = False

    def encode_prompt(self, prompt: str | list[int]) -> list[int]:
        ids = list(prompt.encode()) if isinstance(prompt, str) else list(prompt)
        if not ids:
            raise RequestError("the prompt is empty; send at least one token", param="prompt")
        if any(token > EOS for token in ids):
            raise RequestError("the prompt has a token id beyond the vocabulary", param="prompt")
        if len(ids) >= self.max_context:
            raise ContextLengthError(
                f"the prompt has {len(ids)} tokens; the maximum context length is {self.max_context}",
                param="prompt",
            )
        return ids

    def encode_chat(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> list[int]:
        self.rendered.append((messages, tools, variables))
        self.generation_prompts.append((add_generation_prompt, continue_final_message))
        return self.encode_prompt("".join(f"[{m['role']}]{m['content']}" for m in messages))

    def tokenize_chat(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> list[int]:
        self.rendered.append((messages, tools, variables))
        text = "".join(f"[{m['role']}]{m['content']}" for m in messages)
        return list((text + "[assistant]" * add_generation_prompt).encode())

    def explain(self, request_id: str) -> list[list[str]] | None:
        return [["+0.000 s: queued"]] if request_id in self.explained else None

    def stats(self) -> EngineStats:
        return EngineStats(
            running=len(self.running),
            waiting=len(self.waiting),
            kv_usage=len(self.running) / self.capacity,
            num_blocks=self.capacity,
            num_preemptions=0,
            prompt_tokens=self.num_prompt_tokens,
            generation_tokens=self.num_output_tokens,
            prefix_queries=self.num_prompt_tokens,
            prefix_hits=3,
            num_steps=self.num_output_tokens,
            speculative_method="ngram",
            speculative_steps={"drafted": 2, "does not pay": 5},
        )

    def snapshot(self, since: int = 0) -> Snapshot:
        self.num_looks += 1
        return Snapshot(
            time_s=1.0,
            next_event=self.num_output_tokens,
            stats=self.stats(),
            max_batch=self.capacity,
            requests=[self._state(each, "decode") for each in list(self.running)]
            + [self._state(each, "waiting") for each in list(self.waiting)],
            steps=[],
            drafts=[],
            decisions=[self._decision(each) for each in sorted(self.explained)],
            pools=[],
        )

    def _state(self, request_id: str, state: str) -> RequestState:
        return RequestState(
            request_id=request_id,
            tenant=self.tenants.get(request_id, ""),
            state=state,
            age_s=0.5,
            prompt_tokens=3,
            computed_tokens=3,
            cached_tokens=0,
            output_tokens=self.running.get(request_id, 0),
            num_choices=1,
            preemptions=0,
        )

    def _decision(self, request_id: str) -> Decision:
        return Decision(time_s=0.5, step=0, request_id=request_id, kind="queue", text="queued")

    async def stream(
        self,
        prompt: list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str = "",
        cache_salt: str = "",
        shortcut: object = None,
    ) -> AsyncIterator[Delta]:
        assert request_id is not None and request_id not in self.running, request_id
        limit = self._limit(prompt, params)
        self.seen.append((prompt, params))
        self.salts.append(cache_salt)
        self.standings.append((priority, tenant))
        self.waiting.append(request_id)
        self.explained.add(request_id)
        self.tenants[request_id] = tenant
        try:
            await self._admission(request_id)
            self.num_prompt_tokens += len(prompt)
            for delta in self._deltas(request_id, prompt, params, limit):
                await self._step()
                self.running[request_id] += 1
                self.num_output_tokens += len(delta.token_ids)
                yield delta
            self.finished.append(request_id)
        finally:
            if request_id not in self.finished:
                self.aborted[request_id] = self.running.get(request_id, 0)
            self.running.pop(request_id, None)
            if request_id in self.waiting:
                self.waiting.remove(request_id)

    def _limit(self, prompt: list[int], params: SamplingParams) -> int:
        total = len(prompt) + (1 if params.max_tokens is None else params.max_tokens)
        if total > self.max_context:
            raise ContextLengthError(
                f"the prompt has {len(prompt)} tokens and max_tokens is {params.max_tokens}; the context "
                f"holds {self.max_context}",
                param="max_tokens",
            )
        return self.max_context - len(prompt) if params.max_tokens is None else params.max_tokens

    async def _admission(self, request_id: str) -> None:
        while len(self.running) >= self.capacity or self.waiting[0] != request_id:
            await self._step()
        self.waiting.remove(request_id)
        self.running[request_id] = 0

    async def _step(self) -> None:
        while True:
            await asyncio.sleep(self.step_s)
            if not self.healthy:
                raise EngineDead("the engine has stopped: /some/path 0x7fff1234")
            if self.bug is not None:
                raise self.bug
            if not self.held:
                return

    def _deltas(self, request_id: str, prompt: list[int], params: SamplingParams, limit: int) -> list[Delta]:
        if isinstance(params, PoolingParams):
            return [_embedded(request_id, prompt)]
        if params.max_tokens == 0:
            last = Delta(
                request_id=request_id, finish_reason="length", prompt_logprobs=_scores(prompt, params)
            )
            return [_with_metrics(last, _metrics(len(prompt), 0))]
        answers = [self._answer(prompt, params, choice, limit) for choice in range(params.n)]
        deltas: list[Delta] = []
        for step in range(max(len(tokens) for tokens, _ in answers)):
            for choice, (tokens, reason) in enumerate(answers):
                if step < len(tokens):
                    last = step == len(tokens) - 1
                    deltas.append(
                        self._delta(request_id, choice, tokens, step, params, reason if last else None)
                    )
        deltas[0] = replace(deltas[0], prompt_logprobs=_scores(prompt, params))
        total = sum(len(tokens) for tokens, _ in answers)
        deltas[-1] = _with_metrics(deltas[-1], _metrics(len(prompt), total))
        return deltas

    def _answer(
        self, prompt: list[int], params: SamplingParams, choice: int, limit: int
    ) -> tuple[list[int], str]:
        text = bytes(token for token in prompt if token < EOS).decode("utf-8", errors="replace")
        if "SAY:" in text:
            tokens = [*text.partition("SAY:")[2].encode(), EOS]
            return (tokens, "stop") if len(tokens) <= limit else (tokens[:limit], "length")
        seed = f"{prompt} {params.seed} {choice}".encode()
        return [_letter(seed, place) for place in range(limit)], "length"

    def _delta(
        self, request_id: str, choice: int, tokens: list[int], step: int, params: SamplingParams, reason: Any
    ) -> Delta:
        before = _complete(tokens[:step])
        text = _complete(tokens[: step + 1])[len(before) :]
        logprobs = None
        if params.logprobs is not None:
            top = [(tokens[step] if rank == 0 else 65 + rank, -0.5 - rank) for rank in range(params.logprobs)]
            logprobs = [TokenLogprob(tokens[step], -0.5, 1, top)]
        return Delta(
            request_id=request_id,
            index=choice,
            text=text,
            token_ids=[tokens[step]],
            logprobs=logprobs,
            finish_reason=reason,
            stop_reason=self.stop_reason if reason == "stop" else None,
        )


def embedding_of(prompt: list[int]) -> Any:
    """The vector of a prompt depends on its first token and its length; nothing else."""
    return np.array([prompt[0] / 7, len(prompt), -1.5, 1e-20], np.float32)


def _embedded(request_id: str, prompt: list[int]) -> Delta:
    metrics, vector = _metrics(len(prompt), 0), embedding_of(prompt)
    return Delta(request_id=request_id, finish_reason="length", metrics=metrics, embedding=vector)


def _complete(tokens: list[int]) -> str:
    """The text of tokens without the part of a character that may end them."""
    return bytes(token for token in tokens if token < EOS).decode("utf-8", errors="ignore")


def _letter(seed: bytes, place: int) -> int:
    digest = hashlib.blake2b(seed + place.to_bytes(4, "big"), digest_size=2).digest()
    return ord(LETTERS[int.from_bytes(digest, "big") % len(LETTERS)])


def _metrics(num_prompt_tokens: int, num_output_tokens: int) -> RequestMetrics:
    return RequestMetrics(
        arrival_s=0.0,
        queue_s=0.25,
        ttft_s=0.5,
        tpot_s=0.125,
        itl_s=[0.125] * (num_output_tokens - 1),
        e2e_s=2.0,
        num_prompt_tokens=num_prompt_tokens,
        num_output_tokens=num_output_tokens,
        num_cached_tokens=min(2, num_prompt_tokens),
        preempted_s=[(0.75, 0.875)],
    )


def _with_metrics(delta: Delta, metrics: RequestMetrics) -> Delta:
    return replace(delta, metrics=metrics)


def _scores(prompt: list[int], params: SamplingParams) -> list[TokenLogprob | None] | None:
    """Each token after the first is the second likeliest, behind EOS."""
    if params.prompt_logprobs is None:
        return None
    top = [(EOS, -0.25), *((65 + place, -3.0 - place) for place in range(19))][: params.prompt_logprobs]
    return [None, *(TokenLogprob(token, -1.5, 2, top) for token in prompt[1:])]
