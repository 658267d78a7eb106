from __future__ import annotations

import json
import math

import pytest


def test_perplexity_of_a_file(run, llm, tmp_path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Gr\u00fc\u00dfe")
    code, out, err = run("eval", "perplexity", str(path))
    assert (code, err) == (0, "")
    assert out == "perplexity 4.0000 | 1.4286 bits per byte | 5 tokens in windows of 64\n"


def test_json_is_one_object(run, llm) -> None:
    code, out, _ = run("eval", "perplexity", "-", "--json", stdin=b"abc")
    assert code == 0
    assert json.loads(out) == {
        "model": "smollm2",
        "perplexity": pytest.approx(4.0),
        "bits_per_byte": pytest.approx(2.0),
        "logprob": pytest.approx(3 * math.log(0.25)),
        "num_tokens": 3,
        "num_bytes": 3,
        "max_context": 64,
    }


@pytest.mark.parametrize(
    "data, said", [(b"", "is empty"), (b"ab\xff", "not valid UTF-8 at byte 2"), (None, "cannot read")]
)
def test_what_cannot_be_scored_is_an_error(run, llm, tmp_path, data: bytes | None, said: str) -> None:
    path = tmp_path / "text.txt"
    if data is not None:
        path.write_bytes(data)
    code, out, err = run("eval", "perplexity", str(path))
    assert (code, out) == (2, "") and said in err and str(path) in err
