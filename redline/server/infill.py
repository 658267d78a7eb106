"""infill_prompt(): text that is missing between two others, for models that were trained to fill it in.

The order is prefix, suffix, middle (PSM of Bavarian et al., 2022), which all of the models below know.
"""

from __future__ import annotations

from redline.protocol.wire import UnsupportedParameter
from redline.server.engine import ServedTokenizer

# The control tokens before the prefix, the suffix and the middle, by family.
TOKENS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen Coder, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite Code
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
)


def infill_prompt(tokenizer: ServedTokenizer, prompt: str | list[int], suffix: str) -> list[int]:
    """Token ids behind which the model writes what comes between. Raises UnsupportedParameter."""
    prefix_id, suffix_id, middle_id = _control_tokens(tokenizer)
    before = tokenizer.encode(prompt, False) if isinstance(prompt, str) else prompt
    after = tokenizer.encode(suffix, False)
    return [*tokenizer.prefix_ids, prefix_id, *before, suffix_id, *after, middle_id]


def _control_tokens(tokenizer: ServedTokenizer) -> list[int]:
    for family in TOKENS:
        ids = [tokenizer.encode(token, False, parse_special=True) for token in family]
        if all(len(each) == 1 for each in ids):
            return [each[0] for each in ids]
    raise UnsupportedParameter(
        "suffix is given, and this model has no control tokens for filling in text between two others; leave "
        "it out",
        param="suffix",
    )
