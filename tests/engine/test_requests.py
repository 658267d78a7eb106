"""What one request may ask for, on the real model."""

from dataclasses import replace

import pytest

from redline import LLM, SamplingParams
from redline.engine.scheduling import build_scheduler
from redline.errors import CapacityError, ContextLengthError, QueueFull, RequestError
from tests.model_file import smollm2

pytestmark = pytest.mark.model

PROMPT = "The capital of France is"


def greedy(**options):
    return SamplingParams(temperature=0.0, **{"max_tokens": 12, **options})


def one(llm, prompt=PROMPT, **options):
    return llm.generate(prompt, greedy(**options))[0].choices[0]


def test_text_is_the_decoded_tokens(llm):
    choice = one(llm)
    assert choice.text == llm.tokenizer.decode(choice.token_ids)
    assert "Paris" in choice.text
    assert (choice.finish_reason, choice.stop_reason, len(choice.token_ids)) == ("length", None, 12)


def test_a_stop_string_ends_the_answer_before_it(llm):
    full = one(llm).text
    stop = full[3:7]
    choice = one(llm, stop=stop)
    assert choice.text == full[: full.index(stop)]
    assert (choice.finish_reason, choice.stop_reason) == ("stop", stop)
    assert one(llm, stop=stop, include_stop_str_in_output=True).text == full[: full.index(stop)] + stop


def test_a_stop_string_across_tokens_is_found_and_never_streamed(llm):
    tokens = one(llm).token_ids
    first, second = llm.tokenizer.decode(tokens[:3]), llm.tokenizer.decode(tokens[:4])
    stop = second[len(first) - 2 : len(first) + 2]
    pieces = [delta.text for delta in llm.stream(PROMPT, greedy(stop=stop))]
    assert "".join(pieces) == second[: second.index(stop)]


def test_a_stop_token_ends_the_answer(llm):
    tokens = one(llm).token_ids
    choice = one(llm, stop_token_ids=[tokens[4]])
    end = tokens.index(tokens[4]) + 1
    assert choice.token_ids == tokens[:end]
    assert (choice.finish_reason, choice.stop_reason) == ("stop", tokens[4])


def test_min_tokens_holds_off_stops_and_end_of_sequence(llm):
    tokens = one(llm).token_ids
    choice = one(llm, stop_token_ids=[tokens[0]], min_tokens=5)
    assert tokens[0] not in choice.token_ids[:5]
    eos = min(llm.tokenizer.eos_token_ids)
    pushed = one(llm, logit_bias={eos: 100.0}, min_tokens=5)
    assert len(pushed.token_ids) == 6
    assert pushed.token_ids[-1] == eos
    assert pushed.finish_reason == "stop"


def test_ignore_eos_runs_on(llm):
    eos = min(llm.tokenizer.eos_token_ids)
    choice = one(llm, logit_bias={eos: 100.0}, ignore_eos=True, max_tokens=4)
    assert choice.token_ids == [eos] * 4
    assert choice.finish_reason == "length"


def test_logit_bias_forces_and_forbids(llm):
    best = one(llm, max_tokens=1).token_ids[0]
    assert one(llm, max_tokens=1, logit_bias={best: -100.0}).token_ids[0] != best
    assert one(llm, max_tokens=3, logit_bias={77: 100.0}).token_ids == [77] * 3


def test_penalties_change_a_repetitive_answer(llm):
    prompt = "one two three one two three one two three one two three"
    plain = one(llm, prompt, max_tokens=24, ignore_eos=True).token_ids
    for options in ({"repetition_penalty": 1.8}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}):
        punished = one(llm, prompt, max_tokens=24, ignore_eos=True, **options).token_ids
        assert len(set(punished)) > len(set(plain)), options


def test_logprobs_are_normalised_and_ranked(llm):
    choice = llm.generate(PROMPT, greedy(logprobs=5, max_tokens=3))[0].choices[0]
    for token in choice.logprobs:
        assert token.rank == 1
        assert token.top[0] == (token.token_id, token.logprob)
        assert [p for _, p in token.top] == sorted((p for _, p in token.top), reverse=True)
        assert len(token.top) == 5
        assert token.logprob < 0


def test_a_seed_gives_the_same_answer_in_any_company(llm):
    params = SamplingParams(temperature=1.0, seed=11, max_tokens=16, top_p=0.95)
    alone = llm.generate(PROMPT, params)[0].choices[0].token_ids
    crowd = [SamplingParams(temperature=1.3, seed=index, max_tokens=20) for index in range(7)]
    outputs = llm.generate([PROMPT] * 8, [*crowd, params])
    assert outputs[-1].choices[0].token_ids == alone
    assert len({tuple(output.choices[0].token_ids) for output in outputs}) == 8


def test_n_choices_share_the_prompt_and_equal_single_draws(llm):
    params = SamplingParams(temperature=1.0, seed=5, n=4, max_tokens=10, ignore_eos=True)
    output = llm.generate(PROMPT, params)[0]
    assert [choice.index for choice in output.choices] == [0, 1, 2, 3]
    assert len({tuple(choice.token_ids) for choice in output.choices}) == 4
    first = llm.generate(PROMPT, SamplingParams(temperature=1.0, seed=5, max_tokens=10, ignore_eos=True))[0]
    assert output.choices[0].token_ids == first.choices[0].token_ids
    again = LLM(str(smollm2()), max_context=256, kv_memory="64MiB", prefix_cache=False, max_batch=2)
    alike = again.generate(PROMPT, params)[0]  # two of the four have to wait
    assert [c.token_ids for c in alike.choices] == [c.token_ids for c in output.choices]


def test_greedy_choices_are_all_alike(llm):
    output = llm.generate(PROMPT, greedy(n=3))[0]
    assert len({choice.text for choice in output.choices}) == 1


def test_metrics_add_up(llm):
    output = llm.generate(
        "A prompt that no other test has sent: 8317", greedy(max_tokens=5, ignore_eos=True)
    )[0]
    metrics = output.metrics
    assert metrics.num_prompt_tokens == len(output.prompt_token_ids)
    assert metrics.num_output_tokens == 5
    assert len(metrics.itl_s) == 4
    assert metrics.tpot_s == pytest.approx(sum(metrics.itl_s) / 4)
    assert 0 <= metrics.queue_s <= metrics.ttft_s < metrics.e2e_s
    assert metrics.e2e_s == pytest.approx(metrics.ttft_s + sum(metrics.itl_s))


def test_a_repeated_prompt_is_cached(llm):
    prompt = "A long prompt that fills more than one block of the cache. " * 4
    llm.generate(prompt, greedy(max_tokens=1))
    assert llm.generate(prompt, greedy(max_tokens=1))[0].metrics.num_cached_tokens >= 32


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("how", ["close", "drop"])
def test_leaving_a_stream_frees_everything(llm, begun, how):
    stream = llm.stream(PROMPT, greedy(max_tokens=100, ignore_eos=True))
    if begun:
        next(stream)
    if how == "close":
        stream.close()
    del stream
    stats = llm.stats()
    assert (stats.running, stats.waiting, stats.kv_usage) == (0, 0, 0.0)


@pytest.mark.parametrize(
    "prompt, field",
    [
        ("", "prompt"),
        ([[]], "prompt"),
        ([-1], "prompt"),
        ([10**9], "prompt"),
        ([[1, "a"]], "prompt"),
        ([[True]], "prompt"),
        ("\ud800", "prompt"),
        (5, "prompt"),
        (["fine", ""], "prompt"),
    ],
)
def test_a_bad_prompt_is_refused_by_name(llm, prompt, field):
    with pytest.raises(RequestError) as caught:
        llm.generate(prompt, greedy())
    assert caught.value.param == field
    assert not llm.stats().waiting


@pytest.mark.parametrize("params", [5, "", [], {}, [5], None])
def test_parameters_of_another_kind_are_refused(llm, params):
    if params is not None:
        with pytest.raises(RequestError, match="SamplingParams"):
            llm.generate(PROMPT, params)
        with pytest.raises(RequestError, match="SamplingParams"):
            llm.stream(PROMPT, params)
    with pytest.raises(RequestError, match="messages"):
        llm.chat(params)


def test_too_long_is_refused_with_both_numbers(llm):
    with pytest.raises(ContextLengthError, match="300 tokens.*256"):
        llm.generate([list(range(300))], greedy())
    with pytest.raises(ContextLengthError, match="200 tokens.*max_tokens is 100.*300.*256") as caught:
        llm.generate([list(range(200))], greedy(max_tokens=100))
    assert caught.value.param == "max_tokens"
    with pytest.raises(ContextLengthError, match="characters"):
        llm.generate("x" * 10**6, greedy())


def test_without_max_tokens_the_answer_ends_with_the_context(llm):
    output = llm.generate([list(range(100, 340))], greedy(max_tokens=None, ignore_eos=True))[0]
    assert len(output.choices[0].token_ids) == 16
    assert output.choices[0].finish_reason == "length"


def test_token_ids_of_other_models_are_refused(llm):
    for options in ({"logit_bias": {49152: 1.0}}, {"stop_token_ids": [10**6]}):
        with pytest.raises(RequestError, match="49151") as caught:
            llm.generate(PROMPT, greedy(**options))
        assert caught.value.param in options


def test_what_can_never_fit_the_memory_is_refused_at_once():
    llm = LLM(str(smollm2()), max_context=2048, kv_memory="4MiB")
    with pytest.raises(CapacityError, match="kv_memory"):
        llm.generate([list(range(1000))], greedy())
    assert "Paris" in one(llm).text


def test_a_full_queue_refuses_streams_but_not_a_long_offline_batch():
    llm = LLM(str(smollm2()), max_context=256, kv_memory="16MiB", max_batch=1, max_waiting=2)
    streams = [llm.stream(PROMPT, greedy(max_tokens=2)) for _ in range(2)]
    with pytest.raises(QueueFull, match="2 requests"):
        llm.stream(PROMPT, greedy())
    for stream in streams:
        list(stream)
    assert len(llm.generate([PROMPT] * 6, greedy(max_tokens=2))) == 6


def test_numbers_that_are_not_numbers_fail_one_request_only(llm, monkeypatch):
    """A row of NaN, as a broken weight file gives, ends the request that it belongs to."""
    forward = llm._engine._forward

    def poisoned(batch):
        logits = forward(batch)
        for row, index in enumerate(batch.logit_rows_R):
            if batch.token_ids_T[index] == 666:
                logits[row] = float("nan")
        return logits

    poisoned.prepared = True
    monkeypatch.setattr(llm._engine, "_forward", poisoned)
    healthy = llm.stream(PROMPT, greedy())
    broken = llm.stream([5, 666], greedy())
    next(healthy)
    with pytest.raises(RequestError, match="NaN"):
        next(broken)
    monkeypatch.undo()
    rest = "".join(delta.text for delta in healthy)
    assert one(llm).text.endswith(rest)
    assert llm.stats().kv_usage == 0.0


def test_a_failing_choice_takes_its_siblings_with_it_and_nobody_else(llm, monkeypatch):
    """The last step of all choices: the first row is not a number, the others would finish."""
    forward = llm._engine._forward

    def poisoned(batch):
        logits = forward(batch)
        if len(logits) == 3 and batch.positions_T[0] == 6:
            logits[0] = float("nan")
        return logits

    poisoned.prepared = True
    monkeypatch.setattr(llm._engine, "_forward", poisoned)
    with pytest.raises(RequestError, match="NaN"):
        llm.generate([[5, 6, 7, 8, 9]], greedy(n=3, max_tokens=3, ignore_eos=True))
    monkeypatch.undo()
    assert llm.stats().kv_usage == 0.0
    assert "Paris" in one(llm).text


def test_a_token_that_the_matrices_lack_is_refused_before_it_reaches_them(llm, monkeypatch):
    monkeypatch.setattr(type(llm.tokenizer), "encode", lambda *_: [5, 50_000])
    with pytest.raises(RequestError, match="token 50000.*49151"):
        llm.generate("text", greedy())


def test_a_stream_dropped_within_a_step_is_aborted_after_it(llm, monkeypatch):
    forward = llm._engine._forward
    streams = [llm.stream(PROMPT, greedy()), llm.stream("Another prompt", greedy())]
    next(streams[0])

    def dropping(batch):
        del streams[1:]
        return forward(batch)

    dropping.prepared = True
    monkeypatch.setattr(llm._engine, "_forward", dropping)
    assert len(list(streams[0])) == 11
    assert (llm.stats().running, llm.stats().kv_usage) == (0, 0.0)


def test_chat_uses_the_template_of_the_model(llm):
    messages = [{"role": "user", "content": "Name the capital of France."}]
    output = llm.chat(messages, greedy(max_tokens=16))[0]
    text = llm.tokenizer.decode(output.prompt_token_ids, skip_special_tokens=False)
    assert text.endswith("<|im_start|>assistant\n")
    assert "Paris" in output.text
    both = llm.chat([messages, messages], greedy(max_tokens=16))
    assert [each.text for each in both] == [output.text] * 2
    with pytest.raises(RequestError, match="messages"):
        llm.chat([], greedy())


def test_another_scheduler_gives_the_same_answers_and_must_wait_for_the_work_to_end():
    llm = LLM(str(smollm2()), max_context=256, kv_memory="64MiB")
    engine, prompts = llm._engine, [PROMPT, "Once upon a time", "Two and two is"]
    before = [output.text for output in llm.generate(prompts, greedy())]
    one_by_one = replace(llm.config, max_batch=1, chunked_prefill=3)
    scheduler = build_scheduler(one_by_one, [0], [engine.scheduler.pools[0].num_blocks], llm.max_context)
    stream = llm.stream(PROMPT, greedy())
    with pytest.raises(AssertionError, match="num_waiting = 1"):
        engine.reschedule(scheduler)
    list(stream)
    engine.reschedule(scheduler)
    outputs = llm.generate(prompts, greedy())
    assert [output.text for output in outputs] == before
    ends = [output.metrics.arrival_s + output.metrics.e2e_s for output in outputs]
    starts = [output.metrics.arrival_s + output.metrics.queue_s for output in outputs]
    assert starts[1] >= ends[0] and starts[2] >= ends[1], "one by one"
