"""guidellm: a short load, with a tokenizer from the working folder."""

import json
import subprocess
import sys
from pathlib import Path

from checks import KEY, MODEL, URL, check, main

NUM_REQUESTS, PROMPT, OUTPUT = 6, 32, 12


@check
def concurrent_load():
    out = Path("guidellm.json")
    command = [
        Path(sys.executable).with_name("guidellm"),
        "run",
        "--disable-console",
        "--backend",
        f"kind=openai_http,target={URL},model={MODEL},api_key={KEY}",
        "--profile",
        "kind=concurrent,streams=2",
        "--constraint",
        f"kind=max_requests,count={NUM_REQUESTS}",
        "--tokenizer",
        "kind=hf_auto,model=tokenizer",
        "--data",
        f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={OUTPUT}",
        "--output",
        f"kind=json,path={out}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-300:]
    (benchmark,) = json.loads(out.read_text())["benchmarks"]
    totals = benchmark["metrics"]["request_totals"]
    assert (totals["successful"], totals["errored"]) == (NUM_REQUESTS, 0), totals
    tokens = benchmark["metrics"]["output_token_count"]["successful"]
    assert tokens["mean"] == OUTPUT, tokens
    assert benchmark["metrics"]["time_to_first_token_ms"]["successful"]["mean"] > 0


main()
