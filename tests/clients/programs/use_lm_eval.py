"""lm-evaluation-harness: local-completions, with the server's own tokenizer."""

import json
import os
import subprocess
import sys
from pathlib import Path

from checks import KEY, MODEL, V1, check, main

QUESTIONS = [
    ("What is the capital of France?", ["Paris", "Rome", "Berlin", "Madrid"], 0),
    ("Which planet is the largest?", ["Mars", "Jupiter", "Venus", "Earth"], 1),
    ("What do bees make?", ["milk", "cheese", "honey", "bread"], 2),
    ("What colour is snow?", ["white", "black", "green", "red"], 0),
    ("What do you drink?", ["water", "stones", "glass", "wood"], 0),
    ("Where do fish live?", ["in trees", "in water", "on the moon", "in books"], 1),
]
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 8
DATASET = """
dataset_path: json
dataset_kwargs: {data_files: %s}
test_split: train
"""
CHOICE = """
task: own_choice
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
"""
PERPLEXITY = """
task: own_perplexity
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: byte_perplexity}]
"""
GENERATION = """
task: own_generation
output_type: generate_until
doc_to_text: "The capital of France is"
doc_to_target: "paris"
generation_kwargs: {until: ["."], max_gen_toks: 8}
filter_list: [{name: stripped, filter: [{function: remove_whitespace}, {function: take_first}]}]
metric_list: [{metric: exact_match, ignore_case: true}]
"""


def write_tasks(folder):
    folder.mkdir(exist_ok=True)
    questions = [dict(zip(("question", "choices", "answer"), each, strict=True)) for each in QUESTIONS]
    for task, rows in ((CHOICE, questions), (PERPLEXITY, [{"text": TEXT}]), (GENERATION, [{"n": 1}])):
        name = task.split()[1]
        data = folder.absolute() / f"{name}.json"
        data.write_text(json.dumps(rows))
        (folder / f"{name}.yaml").write_text(task + DATASET % data)


def evaluate(model, address, tasks, **more):
    """The results by task, of lm-eval's own command."""
    folder = Path("tasks")
    write_tasks(folder)
    arguments = {"model": MODEL, "base_url": address, "num_concurrent": 2, "max_length": 256, **more}
    command = [
        Path(sys.executable).with_name("lm_eval"),
        "run",
        "--model",
        model,
        "--model_args",
        ",".join(f"{name}={value}" for name, value in arguments.items()),
        "--tasks",
        ",".join(tasks),
        "--include_path",
        str(folder),
        "--output_path",
        f"out-{model}",
        "--batch_size",
        "4",
    ]
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-300:]
    (path,) = Path(f"out-{model}").rglob("results_*.json")
    return json.loads(path.read_text())["results"]


@check
def local_completions():
    remote = {"tokenizer_backend": "remote", "auth_token": KEY}
    tasks = ["own_choice", "own_perplexity", "own_generation"]
    results = evaluate("local-completions", f"{V1}/completions", tasks, **remote)
    assert results["own_choice"]["acc,none"] >= 0.5, results
    assert 1 < results["own_perplexity"]["byte_perplexity,none"] < 2, results
    assert results["own_generation"]["exact_match,stripped"] == 1, results


main()
