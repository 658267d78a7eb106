"""An engine over a tiny random checkpoint, with a letter for each token, in as few blocks as wanted."""

import itertools
from types import SimpleNamespace

from redline.cache.paged import PagedKV
from redline.config.engine import EngineConfig
from redline.decoding.sampler import Sampler
from redline.decoding.structured.compiler import GrammarCompiler
from redline.decoding.structured.jump_ahead import NoJumpAhead
from redline.engine.beams import Beams
from redline.engine.collect import Collector
from redline.engine.engine import Engine
from redline.engine.forward import ReplayForward
from redline.engine.inputs import PromptEncoder
from redline.engine.layer_contrast import LayerContrast
from redline.engine.request import NO_OPTIONS
from redline.engine.scheduling import build_scheduler
from redline.engine.scoring import Scorer
from redline.engine.structured import StructuredDecoding
from redline.ops.registry import backend

MAX_CONTEXT = 64


class LetterTokenizer:
    def __init__(self, eos):
        self.eos_token_ids = frozenset(eos)

    def token_bytes(self, token_id):
        return chr(48 + token_id).encode()

    def is_control(self, token_id):
        return False


class TinyEngine:
    """Runs requests step by step, checks every block at every step, and counts the most in use at once."""

    def __init__(self, decoder, num_blocks, *, eos=(), forward=ReplayForward, **options):
        config = EngineConfig(model="m", **{"block_size": 4, **options})
        spec = decoder.spec
        blocks = [num_blocks] * len(spec.windows)
        self.kv = PagedKV(
            spec.group_of_layer, blocks, config.block_size, spec.num_kv_heads, spec.head_dim, "f32"
        )
        tokenizer = LetterTokenizer(eos)
        self.engine = Engine(
            model=SimpleNamespace(tokenizer=tokenizer),
            kv=self.kv,
            forward=forward(decoder, self.kv),
            scheduler=build_scheduler(config, spec.windows, blocks, MAX_CONTEXT),
            sampler=Sampler(backend("cpu")),
            beams=Beams(backend("cpu"), tokenizer),
            scorer=Scorer(decoder, self.kv),
            contrast=LayerContrast(decoder, self.kv),
            inputs=PromptEncoder(tokenizer, None, spec.vocab_size, MAX_CONTEXT),
            structured=StructuredDecoding(
                GrammarCompiler(tokenizer, spec.vocab_size), NoJumpAhead(), config.max_batch
            ),
            max_waiting=100,
            clock=itertools.count().__next__,
        )
        self.most_blocks = 0
        self._collectors = {}

    @property
    def num_used(self):
        return max(pool.num_blocks - pool.num_available for pool in self.engine.scheduler.pools)

    def add(self, prompt, params, options=NO_OPTIONS):
        name = str(len(self._collectors))
        self.engine.add(name, prompt, params, options)
        self._collectors[name] = Collector(name, None, prompt)
        return name

    def step(self):
        for delta in self.engine.step():
            self._collectors[delta.request_id].add(delta)
        self.engine.scheduler.check_integrity()
        self.most_blocks = max(self.most_blocks, self.num_used)

    def run(self, most_steps=3000):
        """Outputs of all requests, once nothing is left."""
        for _ in range(most_steps):
            if not self.engine.has_work:
                assert not self.num_used
                return [collector.output() for collector in self._collectors.values()]
            self.step()
        raise AssertionError(f"work is left: {self.engine.scheduler.num_running = }")

    def generate(self, prompts, params):
        for prompt, each in zip(prompts, params, strict=True):
            self.add(prompt, each)
        return self.run()


def answers(output):
    """All that must not change with the company: tokens, and the bits of every score."""
    return [
        (choice.token_ids, choice.finish_reason, choice.cumulative_logprob, choice.score)
        for choice in output.choices
    ]
