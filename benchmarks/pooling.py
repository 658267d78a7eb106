#!/usr/bin/env python3
"""How to make a vector of a prompt with a model that predicts tokens: the mean of its states, or the last.

    .venv/bin/python benchmarks/pooling.py

Sixteen subjects, three sentences on each. `nearest`: the share of sentences to which one on the same subject
is nearest. `AUC`: how often two on one subject are nearer to each other than two on different ones. `embed`:
prompt tokens a second of 64 prompts of 100 tokens, next to that of as many with one token generated for each;
medians of alternating runs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from typing import Any

import numpy as np

from redline import LLM, SamplingParams
from redline.engine import request
from redline.engine.pooling import MeanPool

SUBJECTS = """
How do I reset my password? | I forgot my login and need a new one | Steps to change the account password
The weather is sunny and warm today | It is a hot day without any clouds | Bright sunshine all afternoon
Bake the cake at 180 degrees | Put the dough into the oven until it is brown | A recipe for chocolate cake
The stock market fell on Monday | Shares lost value as investors sold | Wall Street had its worst day
The team won the match three to one | Our side scored and beat the opponents | A victory in the soccer league
Photosynthesis turns light into energy | Plants use light to make sugar | Chlorophyll absorbs light in leaves
She plays the violin in an orchestra | He is a pianist who gives concerts | The band recorded a new album
The train to Berlin leaves at nine | When does the next bus depart? | The flight was delayed by two hours
The patient has a fever and a cough | Take this medicine twice a day | The doctor examined her sore throat
He was elected president last year | Parliament passed the new law | Voters go to the polls on Sunday
The telescope found a distant galaxy | Mars has two small moons | Astronauts repaired the space station
My dog loves to chase the ball | The cat sleeps on the sofa all day | Puppies need a lot of training
The castle was built in the middle ages | Romans ruled the province for centuries | The war ended in 1648
Sort the list before searching it | The function returns an empty string | A bug crashed the program
The couple bought a house by the lake | Rents in the city rise every year | They moved into a small apartment
The chef seasoned the soup with pepper | We ordered pasta and red wine | This restaurant serves fresh fish
"""


class LastPool(MeanPool):
    """The state of the last token alone."""

    def add(self, x_RD: Any) -> None:
        self._sum_D = x_RD[-1].astype(np.float64)
        self.num_rows += len(x_RD)


def quality(llm: LLM, pool: type[MeanPool]) -> tuple[float, float]:
    subjects = [line.split(" | ") for line in SUBJECTS.strip().splitlines()]
    request.MeanPool = pool  # type: ignore[misc]
    vectors_ND = llm.embed([text for texts in subjects for text in texts])
    request.MeanPool = MeanPool  # type: ignore[misc]
    subject_N = np.repeat(np.arange(len(subjects)), 3)
    near_NN = vectors_ND @ vectors_ND.T
    np.fill_diagonal(near_NN, -2)
    same_NN = subject_N[:, None] == subject_N
    others = ~np.eye(len(subject_N), dtype=bool)
    inside, across = near_NN[same_NN & others], near_NN[~same_NN]
    nearest = (subject_N[near_NN.argmax(1)] == subject_N).mean()
    return float(nearest), float((inside[:, None] > across).mean())


def speed(llm: LLM, repeats: int) -> tuple[float, float]:
    draw = random.Random(1)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        prompts = [[draw.randrange(1000, 40000) for _ in range(100)] for _ in range(64)]
        start = time.perf_counter()
        llm.embed(prompts)
        middle = time.perf_counter()
        llm.generate([each[::-1] for each in prompts], SamplingParams(max_tokens=1))
        end = time.perf_counter()
        rates[0].append(6400 / (middle - start))
        rates[1].append(6400 / (end - middle))
    return statistics.median(rates[0]), statistics.median(rates[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    llm = LLM(args.model, max_context=512)
    for name, pool in (("mean", MeanPool), ("last", LastPool)):
        nearest, auc = quality(llm, pool)
        sys.stdout.write(f"{name}: nearest {nearest:.2f}, AUC {auc:.3f}\n")
    embed, prefill = speed(llm, args.repeats)
    sys.stdout.write(f"embed {embed:.0f} tokens/s, prefill {prefill:.0f} tokens/s: {embed / prefill:.2f}\n")


if __name__ == "__main__":
    main()
