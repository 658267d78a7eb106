"""A worker whose engine does as the first word of its model says: works, dies, hangs, lies, complains."""

import os
import signal
import sys
import time
from pathlib import Path

import redline.bench.workers

sys.path.insert(0, str(Path(redline.bench.workers.__file__).parent))

from serve import Timeline, main


class Fake:
    """One token each millisecond for every request; the first takes ten."""

    def __init__(self, options):
        self.behaviour = options["model"].split()[0]
        if self.behaviour == "unopened":
            raise ValueError("no such\nfile")
        self.vocab_size = 100
        self.launch = f"fake with {options['threads']} threads"

    def generate(self, prompts, output_tokens, tune):
        print("chatter on stdout")
        if self.behaviour == "dies":
            print("the last words", file=sys.stderr)
            os.kill(os.getpid(), signal.SIGABRT)
        if self.behaviour == "hangs":
            time.sleep(60)
        if self.behaviour == "complains":
            raise RuntimeError("out of slots")
        timeline = Timeline(len(prompts))
        counts = [n - (self.behaviour == "lies") for n in output_tokens]
        time.sleep(0.01)
        for step in range(max(counts)):
            timeline.add((i, prompts[i][0]) for i, n in enumerate(counts) if step < n)
            time.sleep(0.001)
        return timeline


def write_text(options, file):
    if options["model"] == "silent":
        raise SystemExit(3)
    file.write("Paris")


if __name__ == "__main__":
    main(Fake, write_text)
