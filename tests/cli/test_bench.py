from __future__ import annotations

import json

import pytest

from tests.model_file import smollm2


@pytest.mark.model
def test_the_verb_reports_a_real_run(run) -> None:
    size = ["--batch", "2", "--prompt-tokens", "8", "--output-tokens", "4", "--repeats", "1"]
    code, out, err = run(
        "bench", "offline", "--model", str(smollm2()), "--max-context", "64", *size, "--json"
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["result"]["decode_tok_s"] > 0 and report["result"]["peak_memory_bytes"] > 2**26
    assert report["weights_bytes"] == smollm2().stat().st_size
    assert report["command"][:3] == ["redline", "bench", "offline"]
    assert 0 < report["decode_bandwidth_share"] < 1
