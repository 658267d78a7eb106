"""Which tokens run, and when."""

from __future__ import annotations

from redline.technique import ALWAYS_ON, Payoff, Technique

SCHED = "benchmarks/scheduling_xeon_amx_2026-11-22.md"

SCHEDULING = (
    Technique(
        name="continuous-batching",
        file="redline/core/scheduler.py",
        switch="batching=static",
        promise="exact",
        summary="The batch is put together anew for every step: requests join and leave between tokens.",
        paper="Yu et al., Orca, OSDI 2022",
        needs=("batch-invariance",),
        payoff=Payoff("1.83x the tokens of static batching under load", SCHED),
    ),
    Technique(
        name="selective-batching",
        file="redline/engine/prepare.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Tokens of all requests share one flat axis; only attention tells requests apart.",
        paper="Yu et al., Orca, OSDI 2022",
        needs=("batch-invariance",),
    ),
    Technique(
        name="chunked-prefill",
        file="redline/core/chunked_prefill.py",
        switch="chunked_prefill=None",
        promise="exact",
        summary="Long prompts are cut into chunks that share the token budget of a step with decodes.",
        paper="Agrawal et al., Sarathi-Serve, OSDI 2024, arXiv:2403.02310",
        needs=("batch-invariance",),
    ),
    Technique(
        name="prompt-share",
        file="redline/core/scheduler.py",
        switch="prompt_share=1.0",
        promise="exact",
        summary="A prompt that cannot end in a step takes only its share of it while others want some.",
        paper="common practice",
        needs=("chunked-prefill",),
        payoff=Payoff("median first token beside that prompt: 0.37 s for 6.3", SCHED),
    ),
    Technique(
        name="step-time",
        file="redline/core/step_time.py",
        switch="step_time=0.015",
        promise="exact",
        summary="Prompts take what fits a target time of a step while the batch has room: nobody waits long.",
        paper="Agrawal et al., Sarathi-Serve, OSDI 2024, arXiv:2403.02310",
        needs=("chunked-prefill",),
        payoff=Payoff("p95 of the first token beside a prompt of 6,000: 33 ms for 567", SCHED),
    ),
    Technique(
        name="decode-first",
        file="redline/core/scheduler.py",
        switch="prefill_first=True",
        promise="exact",
        summary="Decodes go before prompts in a step; the baseline is the reverse.",
        paper="Agrawal et al., Sarathi-Serve, OSDI 2024, arXiv:2403.02310",
    ),
    Technique(
        name="admission-order",
        file="redline/core/order.py",
        switch="order=shortest",
        promise="exact",
        summary="Who is admitted first: first come, priority, shortest, longest cached prefix, deadline.",
        paper="Zheng et al., SGLang, 2024, arXiv:2312.07104; Liu & Layland, JACM 1973",
    ),
    Technique(
        name="fair-order",
        file="redline/core/fairness.py",
        switch="order=fair",
        promise="exact",
        summary="A counter of served tokens per tenant; the tenant that got least is admitted first.",
        paper="Sheng et al., Fairness in Serving LLMs, OSDI 2024, arXiv:2401.00588",
    ),
    Technique(
        name="recompute-preemption",
        file="redline/core/preemption.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Without memory the latest request gives its blocks back, to be computed or loaded later.",
        paper="Kwon et al., vLLM, SOSP 2023, arXiv:2309.06180",
        needs=("paged-cache", "batch-invariance"),
    ),
    Technique(
        name="needed-logits",
        file="redline/engine/prepare.py",
        switch=ALWAYS_ON,
        promise="exact",
        summary="Only rows that are sampled reach the output projection: one per prompt, not one per token.",
        paper="common practice",
    ),
)
