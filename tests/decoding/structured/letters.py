"""A tokenizer of single bytes and some longer tokens, and walks through what a constraint allows."""

import numpy as np

from redline.decoding.structured.bitmask import rule_out

END, CONTROL = 256, 257
LONGER = [
    b"null",
    b"true",
    b'": ',
    b'", "',
    b"{}",
    b"ab",
    b"abc",
    b"bc",
    b"name",
    b'{"',
    b"na",
    "\u00fc".encode(),
]


class Letters:
    """Token i below 256 is byte i; one token ends an answer, one control token is spelled <|tool|>."""

    eos_token_ids = frozenset({END})
    tokens = [*(bytes([byte]) for byte in range(256)), b"<|end|>", b"<|tool|>", *LONGER]

    def token_bytes(self, token_id):
        return self.tokens[token_id]

    def is_control(self, token_id):
        return token_id in (END, CONTROL)

    def encode_continuation(self, text):
        """Longest first, as a merge would."""
        data, ids = text.encode(), []
        longest = sorted(range(258, len(self.tokens)), key=lambda token_id: -len(self.tokens[token_id]))
        while data:
            token_id = next((each for each in longest if data.startswith(self.tokens[each])), data[0])
            ids.append(token_id)
            data = data[len(self.tokens[token_id]) :]
        return ids


SIZE = len(Letters.tokens)


def allowed_ids(constraint, drafts=()):
    """For each place the tokens that may come."""
    found = []
    for allowed in constraint.allowed(drafts):
        assert allowed.failure is None, allowed.failure
        logits_V = np.zeros(SIZE, np.float32)
        rule_out(logits_V, allowed.mask_W)
        found.append(np.flatnonzero(logits_V == 0).tolist())
    return found


def walk(constraint, draw, most=400):
    """Random tokens until nothing can follow, as text; None: it did not end in time."""
    ids = []
    for _ in range(most):
        if constraint.ended:
            return b"".join(Letters.tokens[token_id] for token_id in ids).decode()
        [token_ids] = allowed_ids(constraint)
        if END in token_ids:
            token_ids = [END]
        token_id = draw.choice(token_ids)
        if token_id == END:
            return b"".join(Letters.tokens[each] for each in ids).decode()
        ids.append(token_id)
        constraint.push(token_id)
    return None
