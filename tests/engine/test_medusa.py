"""Heads that guess ahead: read from the public layout, random or right, the same bits with and without."""

import json

import numpy as np
import pytest

from redline import LLM, SamplingParams
from redline.decoding.speculative.depth import Depth
from redline.engine import model_speculation, tree_speculation
from redline.errors import ConfigError, ModelFileError, UnsupportedModel
from redline.models.medusa import FILE, MedusaHeads
from redline.ops.registry import backend
from tests.model_file import smollm2
from tests.models.files import safetensors_bytes
from tests.models.shaped_gguf import write_shaped_gguf

HIDDEN, HEADS = 64, 3


def write_heads(path, tensors, *, num_layers=1, **config):
    path.mkdir(exist_ok=True)
    values = {"medusa_num_heads": HEADS, "medusa_num_layers": num_layers, **config}
    (path / "config.json").write_text(json.dumps(values))
    (path / FILE).write_bytes(safetensors_bytes(tensors))
    return path


def random_heads(rng, *, vocab, hidden=HIDDEN, num_layers=1):
    tensors = {}
    for head in range(HEADS):
        for layer in range(num_layers):
            tensors[f"{head}.{layer}.linear.weight"] = rng.standard_normal((hidden, hidden)) / hidden**0.5
            tensors[f"{head}.{layer}.linear.bias"] = rng.standard_normal(hidden)
        tensors[f"{head}.{num_layers}.weight"] = rng.standard_normal((vocab, hidden))
    return {name: array.astype(np.float32) for name, array in tensors.items()}


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_head_is_residual_blocks_and_a_matrix(tmp_path, rng, num_layers):
    tensors = random_heads(rng, vocab=30, num_layers=num_layers)
    heads = MedusaHeads(write_heads(tmp_path, tensors, num_layers=num_layers), HIDDEN, 30, "float")
    hidden_RD = rng.standard_normal((5, HIDDEN)).astype(np.float32)
    for head in range(HEADS):
        x_RD = hidden_RD.astype(np.float64)
        for layer in range(num_layers):
            y_RD = x_RD @ tensors[f"{head}.{layer}.linear.weight"].T + tensors[f"{head}.{layer}.linear.bias"]
            x_RD = x_RD + y_RD / (1 + np.exp(-y_RD))
        expected_R = (x_RD @ tensors[f"{head}.{num_layers}.weight"].T).argmax(1)
        assert heads.guess(backend("cpu"), hidden_RD, head).tolist() == expected_R.tolist()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"medusa_num_heads": 0}, ModelFileError, "medusa_num_heads is 0; it must be between 1"),
        ({"medusa_num_heads": 4}, ModelFileError, "tensor 3.0.linear.weight is missing; the heads of this"),
        ({"medusa_num_heads": 2}, UnsupportedModel, "tensors that no head has: 2.0.linear"),
        ({"tree": [1]}, UnsupportedModel, r"settings that Redline does not know: tree"),
    ],
)
def test_what_is_wrong_with_heads_is_said(tmp_path, rng, change, error, said):
    path = write_heads(tmp_path, random_heads(rng, vocab=30), **change)
    with pytest.raises(error, match=said):
        MedusaHeads(path, HIDDEN, 30, "float")


def test_heads_of_another_model_are_refused(tmp_path, rng):
    path = write_heads(tmp_path, random_heads(rng, vocab=30))
    with pytest.raises(ModelFileError, match=r"is \(64, 64\); the heads of this model have shape \(32, 32\)"):
        MedusaHeads(path, 32, 30, "float")


PROMPTS = ["one two three", "Once upon a time", "The quick brown fox jumps over the lazy dog"]
PARAMS = {
    "greedy": SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True, logprobs=1),
    "choices": SamplingParams(temperature=0.5, seed=3, n=2, max_tokens=16, ignore_eos=True, logprobs=1),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("medusa") / "model.gguf"
    return write_shaped_gguf(path, smollm2(), hidden=HIDDEN, ffn=64, layers=2, heads=2, kv_heads=1)


@pytest.fixture
def drafts_all(monkeypatch):
    def depth(chances, most, num_rows, max_rows, step_cost, draft_cost):
        return Depth(len(chances), most)

    monkeypatch.setattr(model_speculation, "draft_depth", depth)


def build(model, path=None, num_branches=1, **options):
    speculative = None
    if path is not None:
        speculative = {"method": "medusa", "model": str(path), "num_branches": num_branches}
    options = {"max_context": 128, "kv_memory": "4MiB", "compute": "float", **options}
    return LLM(str(model), speculative=speculative, **options)


def answers(llm, name):
    return [
        [(choice.token_ids, [each.logprob for each in choice.logprobs]) for choice in output.choices]
        for output in llm.generate(PROMPTS, PARAMS[name])
    ]


def trained(llm, name):
    """Heads that know one run by heart: for each hidden state the tokens that came behind the next."""
    proposer, seen = llm._engine._speculation._proposer, []
    propose = proposer.propose

    def spy(wanted):
        rows = [proposer._rows[seq.seq_id] for seq, _ in wanted]
        hidden_RD = proposer._norm(proposer._ops, proposer._forward.hidden_RD[rows])
        seen.extend(
            (hidden_D, seq.output_token_ids, len(seq.output_token_ids))
            for hidden_D, (seq, _) in zip(hidden_RD, wanted, strict=True)
        )
        return propose(wanted)

    proposer.propose = spy
    answers(llm, name)
    tensors = {}
    for head in range(HEADS):
        tensors[f"{head}.0.linear.weight"] = np.zeros((HIDDEN, HIDDEN), np.float32)
        tensors[f"{head}.0.linear.bias"] = np.zeros(HIDDEN, np.float32)
        output_VD = tensors[f"{head}.1.weight"] = np.zeros((llm.spec.vocab_size, HIDDEN), np.float32)
        known = [(hidden, tokens[at + head]) for hidden, tokens, at in seen if at + head < len(tokens)]
        ids = np.array([token for _, token in known])
        hidden_ND = np.array([hidden for hidden, _ in known])
        wanted_NV = (ids[:, None] == np.unique(ids)).astype(np.float32)
        output_VD[np.unique(ids)] = np.linalg.lstsq(hidden_ND, wanted_NV, rcond=None)[0].T
    return tensors


def test_heads_right_or_wrong_change_nothing_and_the_right_ones_are_kept(model, tmp_path, rng, drafts_all):
    plain = {name: answers(build(model), name) for name in PARAMS}
    path = write_heads(tmp_path / "random", random_heads(rng, vocab=49152))
    llm = build(model, path)
    assert {name: answers(llm, name) for name in PARAMS} == plain
    assert llm.stats().accepted_tokens < llm.stats().draft_tokens / 10
    path = write_heads(tmp_path / "trained", trained(build(model, path), "greedy"))
    for options in ({}, {"graph_replay": False, "chunked_prefill": 4}):
        llm = build(model, path, **options)
        assert answers(llm, "greedy") == plain["greedy"]
        assert llm.stats().accepted_tokens > 0.9 * llm.stats().draft_tokens > 15, options
        assert answers(llm, "choices") == plain["choices"]
        assert not llm._engine._speculation._proposer._rows


def test_a_head_ranks_its_guesses(tmp_path, rng):
    heads = MedusaHeads(write_heads(tmp_path, random_heads(rng, vocab=30)), HIDDEN, 30, "float")
    hidden_RD = rng.standard_normal((4, HIDDEN)).astype(np.float32)
    hidden_RD[2] = np.nan
    ranked = np.stack(heads.ranked(backend("cpu"), hidden_RD, 1, 3), 1)
    expected_RV = np.argsort(-heads._heads[1].logits(backend("cpu"), hidden_RD), 1)
    expected_RV[2] = -1
    assert ranked.tolist() == expected_RV[:, :3].tolist()


WRONG = 3  # a token that the first head likes best of all, and that never comes


@pytest.fixture
def computes_branches(monkeypatch, drafts_all):
    def lengths(forks, expected, num_rows, max_rows, cost):
        return [fork.length for fork in forks]

    monkeypatch.setattr(tree_speculation, "branch_lengths", lengths)


def test_the_second_guess_of_the_first_head_is_computed_too(model, tmp_path, rng, computes_branches):
    plain = {name: answers(build(model), name) for name in PARAMS}
    path = write_heads(tmp_path / "random", random_heads(rng, vocab=49152))
    tensors = trained(build(model, path), "greedy")
    output_VD = tensors["0.1.weight"]
    assert not output_VD[WRONG].any()
    output_VD[WRONG] = 1.5 * output_VD.sum(0)  # the right one has 1, all others 0
    path = write_heads(tmp_path / "second", tensors)
    for options in ({}, {"graph_replay": False, "chunked_prefill": 24}, {"block_size": 5, "max_batch": 2}):
        accepted = []
        for num_branches in (1, 2, 3):
            llm = build(model, path, num_branches=num_branches, **options)
            assert answers(llm, "greedy") == plain["greedy"]
            accepted.append(llm.stats().accepted_tokens)
            if num_branches == 2:  # the heads know what follows the branch, too
                assert accepted[-1] > 0.45 * llm.stats().draft_tokens
            assert answers(llm, "choices") == plain["choices"]
            llm._engine.scheduler.check_integrity()
            assert not llm._engine._speculation._proposer._rows
        assert accepted[0] < 5 and accepted[1] > 30, (options, accepted)


def test_branches_of_heads_that_do_not_pay_change_nothing(model, tmp_path, rng):
    path = write_heads(tmp_path / "random", random_heads(rng, vocab=49152))
    assert answers(build(model, path, num_branches=4), "greedy") == answers(build(model), "greedy")


def test_heads_are_part_of_the_memory(model, tmp_path, rng):
    path = write_heads(tmp_path / "random", random_heads(rng, vocab=49152))
    assert build(model, path).memory.drafting_bytes > HEADS * 49152 * HIDDEN * 4


def test_a_file_is_no_directory_of_heads(model):
    with pytest.raises(ConfigError, match="medusa needs a directory with config.json and medusa_lm_head"):
        build(model, model)
