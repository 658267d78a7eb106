#!/usr/bin/env python3
"""Compare Redline with llama.cpp: same file, same token ids, same threads, alternating runs, medians.

    python benchmarks/compare_llama_cpp.py --gguf MODEL.gguf --redline-python .venv/bin/python \\
        --peer-python /path/to/python-with-llama_cpp --json out.json --markdown out.md

The script runs with any Python 3.11 and starts one worker per engine with that engine's Python. A worker
loads the model once, warms up, and then runs one case whenever it is told to, so that the engines take turns
on an otherwise idle machine. Cases:

    prefill        the time until the first token of one prompt of 512 tokens
    decode_1       tokens per second of one answer: 128 tokens in, 64 out
    decode_32      the same for 32 different prompts at once, tokens per second of all together
    first_token    from the start of the process to the first byte of text, with a warm page cache

Both engines take the most likely token and ignore the end-of-sequence token.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

ENGINES = ("redline", "llama.cpp")
CASES = {
    "prefill": {"batch": 1, "prompt_tokens": 512, "output_tokens": 1},
    "decode_1": {"batch": 1, "prompt_tokens": 128, "output_tokens": 64},
    "decode_32": {"batch": 32, "prompt_tokens": 128, "output_tokens": 64},
}
BARS = {"prefill": 1.5, "decode_1": 0.8, "decode_32": 1.2}  # the least ratio, Redline over llama.cpp
MAX_FIRST_TOKEN_S = 1.5
MAX_BATCH = 32
CONTEXT = MAX_BATCH * 1024  # llama.cpp divides its cache among the sequences: 1024 tokens for each
PROMPT = "The capital of France is"  # a completion that does not end at once


def prompts(case: dict, vocab_size: int, seed: int) -> list[list[int]]:
    """The token ids of a case: random, but the same for both engines."""
    draw = random.Random(f"{sorted(case.items())}/{seed}")
    return [[draw.randrange(vocab_size) for _ in range(case["prompt_tokens"])] for _ in range(case["batch"])]


# Workers. Each has vocab_size, launch (how the engine was started, for the report) and measure(prompts,
# output_tokens) -> (seconds until every prompt has its first token, seconds for the tokens after it, ids).


class RedlineWorker:
    def __init__(self, gguf: str, num_threads: int) -> None:
        from redline import LLM, SamplingParams

        # Without the prefix cache: a repeated prompt would cost nothing.
        options = {"threads": num_threads, "prefix_cache": False, "max_batch": MAX_BATCH, "max_context": 2048}
        self._llm = LLM(gguf, **options)
        self._params = SamplingParams
        self.vocab_size = self._llm.spec.vocab_size
        self.launch = f"LLM(gguf, {', '.join(f'{name}={value}' for name, value in options.items())})"

    def measure(self, prompts: list[list[int]], output_tokens: int) -> tuple[float, float, list[list[int]]]:
        """The first answers go on while the last prompts are computed, so decoding is timed from there."""
        params = self._params(max_tokens=output_tokens, temperature=0.0, ignore_eos=True)
        start_s = time.perf_counter()
        outputs = self._llm.generate(prompts, params)
        end_s = time.perf_counter()
        ids = [output.choices[0].token_ids for output in outputs]
        if output_tokens == 1:
            return end_s - start_s, 0.0, ids
        decode_s = len(prompts) * (output_tokens - 1) / decode_rate([output.metrics for output in outputs])
        return end_s - start_s - decode_s, decode_s, ids


def decode_rate(requests: list) -> float:
    """Tokens per second of all requests together, from the moment when the last of them has its first."""
    first_s = [each.arrival_s + each.ttft_s for each in requests]
    pairs = zip(first_s, requests, strict=True)
    token_s = [time_s for first, each in pairs for time_s in itertools.accumulate(each.itl_s, initial=first)]
    return sum(time_s > max(first_s) for time_s in token_s) / (max(token_s) - max(first_s))


class LlamaWorker:
    """llama.cpp through its own batch interface, as its batched examples use it."""

    def __init__(self, gguf: str, num_threads: int) -> None:
        import llama_cpp

        self._api = llama_cpp
        llama_cpp.llama_backend_init()
        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._quiet, None)
        self._model = llama_cpp.llama_model_load_from_file(
            gguf.encode(), llama_cpp.llama_model_default_params()
        )
        assert self._model, f"llama.cpp cannot load {gguf}"
        self._threads = num_threads
        self._context = self._new_context(MAX_BATCH)
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
        self._sampler = chain
        self._batch = llama_cpp.llama_batch_init(512, 0, 1)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self.launch = (
            f"llama-cpp-python {llama_cpp.__version__}: n_ctx={CONTEXT}, n_batch=512, n_ubatch=512, "
            f"n_seq_max={MAX_BATCH}, n_threads=n_threads_batch={num_threads}, mmap, auto flash attention"
        )

    def _new_context(self, num_sequences: int):
        api = self._api
        params = api.llama_context_default_params()
        params.n_ctx = CONTEXT
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = num_sequences
        params.n_threads = params.n_threads_batch = self._threads
        context = api.llama_init_from_model(self._model, params)
        assert context, "llama.cpp cannot make a context"
        return context

    def measure(self, prompts: list[list[int]], output_tokens: int) -> tuple[float, float, list[list[int]]]:
        api = self._api
        api.llama_memory_clear(api.llama_get_memory(self._context), True)
        start_s = time.perf_counter()
        last = self._prefill(prompts)
        first_s = time.perf_counter() - start_s
        ids = [[token] for token in last]
        start_s = time.perf_counter()
        for step in range(output_tokens - 1):
            self._batch.n_tokens = 0
            for sequence, prompt in enumerate(prompts):
                self._put(ids[sequence][-1], len(prompt) + step, sequence, wanted=True)
            self._decode()
            for sequence in range(len(prompts)):
                ids[sequence].append(api.llama_sampler_sample(self._sampler, self._context, sequence))
        return first_s, time.perf_counter() - start_s, ids

    def _prefill(self, prompts: list[list[int]]) -> list[int]:
        """Fill batches of 512 tokens with whole prompts; return the first token of each answer."""
        first: list[int] = []
        waiting: list[int] = []  # rows of the batch whose logits end a prompt
        self._batch.n_tokens = 0
        for sequence, prompt in enumerate(prompts):
            if self._batch.n_tokens + len(prompt) > 512:
                first += self._flush(waiting)
            for position, token in enumerate(prompt):
                wanted = position == len(prompt) - 1
                if wanted:
                    waiting.append(self._batch.n_tokens)
                self._put(token, position, sequence, wanted=wanted)
        return first + self._flush(waiting)

    def _flush(self, waiting: list[int]) -> list[int]:
        self._decode()
        tokens = [self._api.llama_sampler_sample(self._sampler, self._context, row) for row in waiting]
        waiting.clear()
        self._batch.n_tokens = 0
        return tokens

    def _put(self, token: int, position: int, sequence: int, *, wanted: bool) -> None:
        row = self._batch.n_tokens
        self._batch.token[row] = token
        self._batch.pos[row] = position
        self._batch.n_seq_id[row] = 1
        self._batch.seq_id[row][0] = sequence
        self._batch.logits[row] = wanted
        self._batch.n_tokens += 1

    def _decode(self) -> None:
        code = self._api.llama_decode(self._context, self._batch)
        assert code == 0, f"llama_decode failed with {code}"


def work(engine: str, gguf: str, num_threads: int) -> None:
    """A worker process: one JSON request per line on stdin, one JSON answer per line on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    worker = RedlineWorker(gguf, num_threads) if engine == "redline" else LlamaWorker(gguf, num_threads)
    answers.write(json.dumps({"vocab_size": worker.vocab_size, "launch": worker.launch}) + "\n")
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        first_s, rest_s, ids = worker.measure(request["prompts"], request["output_tokens"])
        answers.write(json.dumps({"first_s": first_s, "rest_s": rest_s, "ids": ids}) + "\n")
        answers.flush()


class Worker:
    """The parent's side of a worker process."""

    def __init__(self, engine: str, python: str, gguf: str, num_threads: int) -> None:
        command = [python, __file__, "--worker", engine, "--gguf", gguf, "--threads", str(num_threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hello = self._read()

    def measure(self, prompts: list[list[int]], output_tokens: int) -> dict:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"prompts": prompts, "output_tokens": output_tokens}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a worker ended with code {self._process.wait()}")
        return json.loads(line)


# Measurements of the parent.


def run_cases(workers: dict[str, Worker], names: list[str], repeats: int) -> dict:
    vocab_sizes = {name: worker.hello["vocab_size"] for name, worker in workers.items()}
    assert len(set(vocab_sizes.values())) == 1, f"the engines see different vocabularies: {vocab_sizes}"
    vocab_size = vocab_sizes["redline"]
    results = {}
    for name in names:
        case = CASES[name]
        times: dict[str, list[dict]] = {engine: [] for engine in workers}
        for repeat in range(repeats + 1):  # the first round warms up
            batch = prompts(case, vocab_size, repeat)
            order = list(workers) if repeat % 2 else list(reversed(workers))
            for engine in order:
                answer = workers[engine].measure(batch, case["output_tokens"])
                times[engine].append(answer)
            show(f"{name}: round {repeat} of {repeats}")
        results[name] = summary(name, case, {engine: runs[1:] for engine, runs in times.items()})
    return results


def summary(name: str, case: dict, times: dict[str, list[dict]]) -> dict:
    tokens, key = case["batch"] * (case["output_tokens"] - 1), "rest_s"
    if name == "prefill":
        tokens, key = case["batch"] * case["prompt_tokens"], "first_s"
    rates = {engine: [tokens / run[key] for run in runs] for engine, runs in times.items()}
    medians = {engine: statistics.median(values) for engine, values in rates.items()}
    same = total = 0
    for ours, theirs in zip(*(times[engine] for engine in ENGINES), strict=True):
        for a, b in zip(ours["ids"], theirs["ids"], strict=True):
            same += sum(x == y for x, y in zip(a, b, strict=True))
            total += len(a)
    return {
        **case,
        "tokens_per_s": rates,
        "median": medians,
        "ratio": medians["redline"] / medians["llama.cpp"],
        "bar": BARS[name],
        "equal_tokens": same / total,  # random prompts: answers part after the first near-tie
    }


FIRST_TOKEN = {
    "redline": ["-P", "-m", "redline.cli.main", "generate", PROMPT, "--max-tokens", "8", "--raw"],
    "llama.cpp": [
        "-c",
        "import sys, llama_cpp\n"
        "llm = llama_cpp.Llama(sys.argv[1], n_threads=int(sys.argv[2]), n_threads_batch=int(sys.argv[2]), "
        "verbose=False)\n"
        "for part in llm(sys.argv[3], max_tokens=8, temperature=0.0, stream=True):\n"
        "    sys.stdout.write(part['choices'][0]['text']); sys.stdout.flush()\n",
    ],
}


def first_token_s(engine: str, python: str, gguf: str, num_threads: int) -> float:
    """Seconds from starting the process to its first byte of text."""
    command = [python, *FIRST_TOKEN[engine]]
    command += ["--model", gguf, "--threads", str(num_threads)] if engine == "redline" else []
    command += [gguf, str(num_threads), PROMPT] if engine == "llama.cpp" else []
    start_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - start_s
        process.stdout.read()
    assert first and process.returncode == 0, f"{engine} gave no text (exit code {process.returncode})"
    return seconds


def run_first_token(pythons: dict[str, str], gguf: str, num_threads: int, repeats: int) -> dict:
    times: dict[str, list[float]] = {engine: [] for engine in pythons}
    for repeat in range(repeats + 1):
        for engine, python in pythons.items():
            times[engine].append(first_token_s(engine, python, gguf, num_threads))
        show(f"first_token: round {repeat} of {repeats}")
    medians = {engine: statistics.median(values[1:]) for engine, values in times.items()}
    return {"seconds": times, "median": medians, "bar_s": MAX_FIRST_TOKEN_S}


BANDWIDTH = """
import sys, threading, time
import numpy as np
parts = np.array_split(np.ones(2**25, dtype=np.int64), int(sys.argv[1]))
best = 1e9
for _ in range(7):
    threads = [threading.Thread(target=np.bitwise_or.reduce, args=(part,)) for part in parts]
    start = time.perf_counter()
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    best = min(best, time.perf_counter() - start)
print(sum(part.nbytes for part in parts) / best)
"""


def read_bandwidth(python: str, num_threads: int) -> float:
    """Bytes per second that the threads together read from memory, 256 MiB at a time, best of 7."""
    command = [python, "-c", BANDWIDTH, str(num_threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def hardware() -> dict:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "num_cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": os.getloadavg()[0],
    }


def commit() -> str:
    root = str(Path(__file__).parent)
    command = ["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def show(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def markdown(report: dict) -> str:
    bandwidth, size = report["read_bandwidth_bytes_s"], report["gguf_bytes"]
    lines = [
        f"# Redline and llama.cpp, {report['date']}",
        "",
        f"{report['hardware']['cpu']}, {report['hardware']['num_cores']} cores, "
        f"{report['hardware']['memory_gib']} GiB; {report['threads']} threads; commit {report['commit']}.",
        f"File: {Path(report['gguf']).name}, {size / 1e6:.0f} MB. "
        f"Reading memory: {bandwidth / 1e9:.1f} GB/s, so decoding one sequence cannot exceed "
        f"{bandwidth / size:.0f} tok/s.",
        "",
        "| case | Redline | llama.cpp | ratio | bar |",
        "|---|---|---|---|---|",
    ]
    for name, case in report["cases"].items():
        ours, theirs = (case["median"][engine] for engine in ENGINES)
        lines.append(
            f"| {name}: {case['batch']} x {case['prompt_tokens']} in, {case['output_tokens']} out "
            f"| {ours:.1f} tok/s | {theirs:.1f} tok/s | {case['ratio']:.2f} | >= {case['bar']} |"
        )
    first = report["first_token"]["median"]
    lines.append(
        f"| first_token | {first['redline']:.2f} s | {first['llama.cpp']:.2f} s | "
        f"{first['redline'] / first['llama.cpp']:.2f} | Redline <= {MAX_FIRST_TOKEN_S} s |"
    )
    lines += ["", f"Medians of {report['repeats']} alternating runs after a warm-up.", ""]
    lines += [f"Load average at the start: {report['hardware']['load_before']:.2f}; it must be near 0.", ""]
    lines += [f"- {engine}: `{launch}`" for engine, launch in report["launch"].items()]
    return "\n".join([*lines, f"- command: `{' '.join(report['command'])}`", ""])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--redline-python")
    parser.add_argument("--peer-python")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--worker", choices=ENGINES, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.worker:
        work(args.worker, args.gguf, args.threads)
        return
    if not args.redline_python or not args.peer_python:
        sys.exit("--redline-python and --peer-python are needed")
    pythons = {"redline": args.redline_python, "llama.cpp": args.peer_python}
    report = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "command": ["benchmarks/compare_llama_cpp.py", *sys.argv[1:]],
        "hardware": hardware(),
        "threads": args.threads,
        "repeats": args.repeats,
        "gguf": args.gguf,
        "gguf_bytes": Path(args.gguf).stat().st_size,
        "read_bandwidth_bytes_s": read_bandwidth(args.redline_python, args.threads),
    }
    workers = {name: Worker(name, python, args.gguf, args.threads) for name, python in pythons.items()}
    report["launch"] = {name: worker.hello["launch"] for name, worker in workers.items()}
    report["cases"] = run_cases(workers, args.cases, args.repeats)
    for worker in workers.values():
        worker.close()
    report["first_token"] = run_first_token(pythons, args.gguf, args.threads, args.repeats)
    text = markdown(report)
    sys.stdout.write(text)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(text)


if __name__ == "__main__":
    main()
