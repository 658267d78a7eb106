"""Verbs and flags are frozen: scripts of users depend on their names. A typo is repaired before release."""

from __future__ import annotations

import argparse

import pytest

from redline.cli.main import VERBS, build_parser

ENGINE = [
    "--model", "--max-context", "--max-batch", "--max-waiting", "--threads", "--block-size", "--device",
    "--backend", "--batching", "--batch-window", "--order", "--kv-format", "--compute",
    "--chunked-prefill", "--step-time", "--prompt-share", "--prefill-first", "--no-prefill-first",
    "--kv-cache", "--no-kv-cache", "--paged-cache", "--no-paged-cache", "--flash-attention",
    "--no-flash-attention", "--prefix-cache", "--no-prefix-cache",
    "--fusion", "--no-fusion", "--graph-replay", "--no-graph-replay",
    "--kv-memory", "--memory", "--offload-memory", "--cache-dir", "--speculative", "--cache-dir-size",
    "--jump-ahead", "--no-jump-ahead",
]  # fmt: skip
SAMPLING = [
    "--max-tokens", "--min-tokens", "--temperature", "--top-k", "--top-p", "--min-p", "--repetition-penalty",
    "--presence-penalty", "--frequency-penalty", "--seed", "--stop", "--ignore-eos", "--typical",
    "--top-nsigma", "--xtc-probability", "--xtc-threshold", "--mirostat", "--mirostat-ent", "--mirostat-lr",
    "--dola-layer", "--dry-multiplier", "--dry-base", "--dry-allowed-length", "--dry-penalty-last-n",
    "--dry-sequence-breaker", "--bad-word",
]  # fmt: skip
FLAGS = {
    "generate": [*ENGINE, *SAMPLING, "prompt", "--chat", "--raw", "--system", "--n", "--logprobs", "--stream",
                 "--no-stream", "--stats", "--json", "--use-beam-search", "--best-of", "--length-penalty",
                 "--early-stopping", "--num-beam-groups", "--diversity-penalty", "--json-schema",
                 "--json-schema-file", "--grammar", "--grammar-file", "--regex"],
    "chat": [*ENGINE, *SAMPLING, "--system", "--stats"],
    "serve": [*ENGINE, "models", "--models-file", "--models-memory", "--max-models", "--preload",
              "--residency", "--unload-idle", "--host", "--port", "--trace", "--api-key", "--api-keys-file",
              "--public-metrics", "--share-cache-between-keys", "--tokenizer-info", "--cors-origin",
              "--allowed-host", "--tls-cert", "--tls-key", "--max-queue", "--max-queued-tokens",
              "--request-timeout", "--queue-timeout", "--step-timeout", "--self-check", "--drain-timeout",
              "--otlp-traces-endpoint", "--log-json", "--tool-call-parser", "--reasoning-parser",
              "--no-page"],
    "batch": [*ENGINE, "input", "output", "--retry-errors", "--max-concurrency", "--json",
              "--tool-call-parser", "--reasoning-parser"],
    "pull": ["model"],
    "techniques": ["name", "--json"],
    "eval perplexity": [*ENGINE, "file", "--json"],
    "bench offline": [*ENGINE, "--batch", "--prompt-tokens", "--output-tokens", "--repeats", "--seed",
                      "--json", "--against", "--cases", "--mixed-requests", "--twins", "--max-isa",
                      "--markdown", "--workload", "--requests", "--scale"],
    "bench sweep": [*ENGINE, "--batches", "--budgets", "--requests", "--prompt-tokens", "--output-tokens",
                    "--seed", "--lengths", "--rate", "--ttft", "--tpot", "--percentile", "--repeats",
                    "--json", "--markdown", "--plot"],
    "bench serve": [*ENGINE, "--base-url", "--against", "--api", "--api-key-env", "--workload", "--trace",
                    "--skip-bad-lines", "--rate", "--burstiness", "--trace-speed", "--requests",
                    "--concurrency", "--server-pid", "--scale", "--slo", "--repeats", "--seed", "--tokenizer",
                    "--ignore-eos", "--no-ignore-eos", "--extra-body", "--stall-timeout", "--request-timeout",
                    "--json", "--html"],
    "bench latency": [*ENGINE, "--input-tokens", "--output-tokens", "--batch", "--iterations", "--repeats",
                      "--seed", "--against", "--json", "--html"],
    "bench startup": [*ENGINE, "--file-cache", "--repeats", "--against", "--json", "--html"],
    "bench compare": ["before", "after", "--json"],
    "bench ops": ["--model", "--rows", "--formats", "--only", "--threads", "--repeats", "--json"],
    "hardware": ["--threads", "--again", "--svg", "--json"],
    "profile": [*ENGINE, "--prompt-tokens", "--batches", "--context", "--repeats", "--flame", "--json"],
    "ablate": ["--model", "--threads", "--only", "--workload", "--start", "--repeats", "--quick", "--list",
               "--json", "--markdown", "--plot"],
    "verify": [*ENGINE, "--only", "--json"],
}  # fmt: skip


def names(parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """The flags and positionals of a parser, or of each parser below it, by the words that lead there."""
    found: dict[str, list[str]] = {}
    own = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                found |= {f"{name} {words}".strip(): flags for words, flags in names(child).items()}
        elif not isinstance(action, argparse._HelpAction | argparse._VersionAction):
            own += action.option_strings or [action.dest]
    return found or {"": own}


def test_verbs_are_frozen() -> None:
    assert list(VERBS) == [
        "generate",
        "chat",
        "serve",
        "batch",
        "pull",
        "techniques",
        "eval",
        "bench",
        "hardware",
        "profile",
        "ablate",
        "verify",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_flags_are_frozen(verb: str) -> None:
    expected = {words: sorted(flags) for words, flags in FLAGS.items() if words.split()[0] == verb}
    assert {words: sorted(flags) for words, flags in names(build_parser(verb)).items()} == expected


def test_short_and_ambiguous_spellings_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        build_parser("generate").parse_args(["generate", "hello", "--max-to", "3"])
    assert exit_.value.code == 2
    assert "--max-to" in capsys.readouterr().err
