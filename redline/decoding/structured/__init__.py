"""Structured output: answers that match a JSON Schema, a regular expression or a grammar, always.

Willard & Louf, "Efficient Guided Generation for Large Language Models", 2023, arXiv:2307.09702. What came so
far leaves a parser in a state; the tokens whose bytes it accepts next are a bit each of a mask, and the
sampler draws among those. The parser and its masks are llguidance's, an Earley parser on lexemes that are
derivatives of regular expressions. It needs some 50 microseconds for a mask and compiles a schema in about a
millisecond.

constraint.py says what a constraint is, grammar_constraint.py is the one with a parser. grammar_text.py puts
each form that a request may ask for in the parser's words, vocabulary.py tells it the model's tokens, and
compiler.py makes and keeps what is compiled. mask_worker.py computes masks while the model runs, and
jump_ahead.py lets tokens skip it where no others can follow.
"""
