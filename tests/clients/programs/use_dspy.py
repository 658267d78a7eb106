"""dspy."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # litellm downloads the map otherwise

import dspy
from checks import KEY, MODEL, V1, check, main

AT = {"api_base": V1, "api_key": KEY, "cache": False, "temperature": 0.0, "max_tokens": 64}
# A model this small misses the form that dspy asks for in words; the server holds it to it.
FORM = r"\[\[ ## answer ## \]\]\n[A-Z][a-z]{2,20}\n\n\[\[ ## completed ## \]\]"


@check
def completion():
    assert "Paris" in str(dspy.LM(f"openai/{MODEL}", **AT)("Tell me the capital of France."))


@check
def signature():
    lm = dspy.LM(f"openai/{MODEL}", **AT, extra_body={"regex": FORM})
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        answer = dspy.Predict("question -> answer")(question="What is the capital of France?")
    assert answer.answer.isalpha() and answer.answer.istitle()


main()
