"""llama.cpp through its own batch interface, with continuous batching on top.

Every step is one llama_decode of at most N_BATCH tokens: the next token of each sequence that answers, then
as much of the waiting prompts as fits. A sequence that is done leaves its slot to the next request. Tokens
are taken by an argmax over the logits, which is faster than llama.cpp's own greedy sampler. With prefix
caching, what all prompts begin with is computed in the first slot and copied to the others, as llama.cpp's
own benchmark of shared prompts does.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import llama_cpp as api
import numpy as np
from serve import Timeline, main

N_BATCH = 2048
TWIN_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15}  # llama_ftype


@dataclass(frozen=True)
class Setting:
    """What changes llama.cpp's speed and not its answers."""

    slots: int
    flash: bool
    unified: bool  # one K/V buffer for all sequences, or one each
    n_ubatch: int = 512

    def __str__(self) -> str:
        flash, buffers = "on" if self.flash else "off", "one" if self.unified else "separate"
        return f"{self.slots} slots, flash attention {flash}, {buffers} K/V buffers, n_ubatch {self.n_ubatch}"


@dataclass
class Slot:
    request: int
    prompt: list[int]
    wanted: int
    num_cached: int = 0
    last: int = -1
    num_answered: int = 0


class Batch:
    """A llama_batch whose arrays are NumPy's, filled by slices."""

    def __init__(self, size: int) -> None:
        self.token = np.zeros(size, np.int32)
        self.position = np.zeros(size, np.int32)
        self.sequence = np.zeros(size, np.int32)
        self.wanted = np.zeros(size, np.int8)
        self._counts = np.ones(size, np.int32)
        address = self.sequence.ctypes.data
        self._pointers = np.arange(address, address + 4 * size, 4, dtype=np.uint64)
        self.size = size
        self.used = 0

    def put(self, tokens: list[int], position: int, sequence: int, last_wanted: bool) -> None:
        rows = slice(self.used, self.used + len(tokens))
        self.token[rows] = tokens
        self.position[rows] = np.arange(position, position + len(tokens))
        self.sequence[rows] = sequence
        self.wanted[rows] = 0
        self.wanted[rows.stop - 1] = last_wanted
        self.used = rows.stop

    def struct(self) -> Any:
        def pointer(array: Any, kind: Any) -> Any:
            return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))

        batch = api.llama_batch()
        batch.n_tokens = self.used
        batch.token = pointer(self.token, ctypes.c_int32)
        batch.pos = pointer(self.position, ctypes.c_int32)
        batch.n_seq_id = pointer(self._counts, ctypes.c_int32)
        batch.seq_id = pointer(self._pointers, ctypes.POINTER(ctypes.c_int32))
        batch.logits = pointer(self.wanted, ctypes.c_int8)
        return batch


@dataclass
class LlamaCpp:
    options: dict[str, Any]
    _best: dict[tuple[int, int], Setting] = field(default_factory=dict)
    _context: Any = None
    _setting: tuple[Setting, int] | None = None

    def __post_init__(self) -> None:
        self._model = open_model(self.options)
        self._batch = Batch(N_BATCH)
        self.vocab_size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))

    @property
    def launch(self) -> str:
        chosen = "; ".join(
            f"{f'{n} x {length} tokens in' if n else 'mixed load'}: {setting}"
            for (n, length), setting in self._best.items()
        )
        build = f"llama-cpp-python {api.__version__}, llama_decode with n_batch {N_BATCH}, {system_info()}"
        return f"{build}; fastest settings for {chosen}" if chosen else build

    def generate(self, prompts: list[list[int]], output_tokens: list[int], tune: bool) -> Timeline:
        longest = max(len(prompt) for prompt in prompts)
        shape = (len(prompts), longest) if len(set(output_tokens)) == 1 else (0, 0)  # (0, 0): a mixed load
        if tune and shape not in self._best:
            self._best[shape] = self._fastest(prompts, output_tokens)
        setting = self._best.get(shape) or candidates(len(prompts))[0]
        return self._run(setting, prompts, output_tokens)

    def _fastest(self, prompts: list[list[int]], output_tokens: list[int]) -> Setting:
        times = {}
        for setting in candidates(len(prompts)):
            timeline = self._run(setting, prompts, output_tokens)
            times[setting] = timeline.events[-1][0]
        return min(times, key=lambda setting: times[setting])

    def _run(self, setting: Setting, prompts: list[list[int]], output_tokens: list[int]) -> Timeline:
        self._prepare(setting, max(len(p) + n for p, n in zip(prompts, output_tokens, strict=True)))
        waiting = deque(Slot(i, p, n) for i, (p, n) in enumerate(zip(prompts, output_tokens, strict=True)))
        slots: list[Slot | None] = [None] * setting.slots
        timeline = Timeline(len(prompts))
        if self.options["prefix_caching"]:
            self._share(waiting, setting.slots)
        while True:
            for i, slot in enumerate(slots):
                if slot is None and waiting:
                    slots[i] = waiting.popleft()
            if not any(slots):
                return timeline
            timeline.add(self._step(slots))

    def _share(self, waiting: deque[Slot], num_slots: int) -> None:
        """Compute what all prompts begin with, once. For as many requests as slots."""
        prompts = [slot.prompt for slot in waiting]
        shared = len(os.path.commonprefix(prompts))
        if len(prompts) > num_slots or shared == min(map(len, prompts)):
            return
        for start in range(0, shared, self._batch.size):
            self._batch.used = 0
            self._batch.put(prompts[0][start : min(shared, start + self._batch.size)], start, 0, False)
            self._decode(0)
        memory = api.llama_get_memory(self._context)
        for slot in range(1, num_slots):
            api.llama_memory_seq_cp(memory, 0, slot, -1, -1)
        for each in waiting:
            each.num_cached = shared

    def _step(self, slots: list[Slot | None]) -> list[tuple[int, int]]:
        batch, sampled = self._batch, []
        batch.used = 0
        for i, slot in enumerate(slots):
            if slot is not None and slot.num_answered:
                batch.put([slot.last], len(slot.prompt) + slot.num_answered - 1, i, True)
                sampled.append((i, slot))
        for i, slot in enumerate(slots):
            room = batch.size - batch.used
            if slot is None or slot.num_answered or not room:
                continue
            part = slot.prompt[slot.num_cached : slot.num_cached + room]
            done = slot.num_cached + len(part) == len(slot.prompt)
            batch.put(part, slot.num_cached, i, done)
            slot.num_cached += len(part)
            if done:
                sampled.append((i, slot))
        return self._take(slots, sampled, self._decode(len(sampled)))

    def _decode(self, num_outputs: int) -> list[int]:
        code = api.llama_decode(self._context, self._batch.struct())
        if code:
            raise RuntimeError(f"llama_decode failed with {code}")
        if not num_outputs:
            return []
        logits = np.ctypeslib.as_array(api.llama_get_logits(self._context), (num_outputs, self.vocab_size))
        ids: list[int] = logits.argmax(axis=1).tolist()
        return ids

    def _take(
        self, slots: list[Slot | None], sampled: list[tuple[int, Slot]], ids: list[int]
    ) -> list[tuple[int, int]]:
        memory = api.llama_get_memory(self._context)
        for (i, slot), token in zip(sampled, ids, strict=True):
            slot.last = token
            slot.num_answered += 1
            if slot.num_answered == slot.wanted:
                api.llama_memory_seq_rm(memory, i, -1, -1)
                slots[i] = None
        return [(slot.request, token) for (_, slot), token in zip(sampled, ids, strict=True)]

    def _prepare(self, setting: Setting, longest: int) -> None:
        """An empty context for requests of so many tokens; the last one is used again where it fits."""
        length = -(-longest // 256) * 256
        if self._setting != (setting, length):
            if self._context is not None:
                api.llama_free(self._context)
            self._context, self._setting = self._new_context(setting, length), (setting, length)
        api.llama_memory_clear(api.llama_get_memory(self._context), False)

    def _new_context(self, setting: Setting, length: int) -> Any:
        params = api.llama_context_default_params()
        params.n_ctx = setting.slots * length
        params.n_batch, params.n_ubatch = N_BATCH, setting.n_ubatch
        params.n_seq_max = setting.slots
        params.n_threads = params.n_threads_batch = self.options["threads"]
        params.flash_attn_type = int(setting.flash)
        params.kv_unified = setting.unified
        params.no_perf = True
        context = api.llama_init_from_model(self._model, params)
        if not context:
            raise RuntimeError(f"no context for {setting}")
        return context


def candidates(num_requests: int) -> list[Setting]:
    """The settings worth trying for a batch of so many requests, the default first."""
    if num_requests <= 32:
        return [Setting(num_requests, flash, unified) for unified in (False, True) for flash in (True, False)]
    return [Setting(slots, True, False) for slots in (32, 16, 64)]


def open_model(options: dict[str, Any]) -> Any:
    api.llama_backend_init()
    api.llama_log_set(SILENT, None)
    model = api.llama_model_load_from_file(options["model"].encode(), api.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {options['model']}")
    return model


SILENT = api.llama_log_callback(lambda level, text, data: None)


def system_info() -> str:
    """The instruction sets that this build uses, from "CPU : AVX2 = 1 | FMA = 1 | ..."."""
    words = api.llama_print_system_info().decode().split("CPU :")[-1]
    return " ".join(part.split("=")[0].strip() for part in words.split("|") if "=" in part)


def write_text(options: dict[str, Any], file: Any) -> None:
    threads = options["threads"]
    llm = api.Llama(options["model"], n_threads=threads, n_threads_batch=threads, verbose=False)
    for part in llm(options["prompt"], max_tokens=8, temperature=0.0, stream=True):
        file.write(part["choices"][0]["text"])
        file.flush()


def write_twin(options: dict[str, Any]) -> None:
    """The same model requantised. Weights pass through float, so a twin is not exactly the original."""
    api.llama_backend_init()
    params = api.llama_model_quantize_default_params()
    params.nthread = options["threads"]
    params.ftype = TWIN_TYPES[options["twin"]["type"]]
    params.allow_requantize = True
    target = options["twin"]["path"].encode()
    code = api.llama_model_quantize(options["model"].encode(), target, ctypes.byref(params))
    if code:
        raise RuntimeError(f"llama_model_quantize failed with {code}")


if __name__ == "__main__":
    main(LlamaCpp, write_text, write_twin)
