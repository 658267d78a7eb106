"""Which clients there are."""

from __future__ import annotations

from dataclasses import dataclass

from tests.clients.environments import Development, Environment, Node, Python

TORCH = "torch==2.13.0"  # the build for CPUs; what asks for torch without a version gets gigabytes


@dataclass(frozen=True)
class Client:
    """A client, the program in programs/ that drives it, and where it lives. `only`: these checks of it."""

    name: str
    program: str
    environment: Environment
    timeout_s: float = 300
    only: tuple[str, ...] = ()


def _python(name: str, program: str, *requires: str) -> Client:
    return Client(name, program, Python(requires))


CLIENTS = (
    _python("openai", "use_openai.py", "openai>=3,<4"),
    _python("openai-2", "use_openai.py", "openai>=2,<3"),
    _python("anthropic", "use_anthropic.py", "anthropic>=2"),
    _python("litellm", "use_litellm.py", "litellm", "mcp"),  # it imports mcp whenever there are tools
    _python("instructor", "use_instructor.py", "instructor"),
    _python("langchain-openai", "use_langchain.py", "langchain-openai"),
    _python("pydantic-ai", "use_pydantic_ai.py", "pydantic-ai-slim[openai,anthropic]"),
    _python("openai-agents", "use_openai_agents.py", "openai-agents"),
    _python("dspy", "use_dspy.py", "dspy"),
    _python("llm", "use_llm.py", "llm"),
    Client("llm-comply", "use_llm_comply.py", Python(("llm-comply",)), timeout_s=900),
    _python("lm-eval", "use_lm_eval.py", "lm-eval[api]"),
    _python("guidellm", "use_guidellm.py", "guidellm", TORCH),
    Client("codex", "use_codex.mjs", Node(("@openai/codex",))),
    Client("claude-code", "use_claude_code.mjs", Node(("@anthropic-ai/claude-code",))),
    Client("openai-node", "use_openai.mjs", Node(("openai", "zod"))),
    Client("ai-sdk", "use_ai.mjs", Node(("ai", "@ai-sdk/openai-compatible", "zod"))),
)
# What the development environment has anyway; only checks that need the real model.
QUICK = (
    Client("openai", "use_openai.py", Development(("openai",)), only=("parse", "tools", "retries")),
    Client("anthropic", "use_anthropic.py", Development(("anthropic",)), only=("tools", "leaving")),
)
