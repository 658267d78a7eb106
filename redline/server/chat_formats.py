"""ChatFormats: how one model's conversations are shown to it, and how its answers are read."""

from __future__ import annotations

from typing import Any

from redline.parsing.choose import OutputFormat, choose
from redline.parsing.describe import describe_tools
from redline.protocol.chat import ChatRequest
from redline.protocol.wire import UnsupportedParameter
from redline.server.service import Service

Dicts = list[dict[str, Any]]


class ChatFormats:
    """The formats of tool calls and reasoning that the server's options and the chat template settle."""

    def __init__(self, service: Service) -> None:
        config, template = service.config, service.engine.chat_template
        self._usual = choose(config.tool_call_parser, config.reasoning_parser, template)
        # A call that has to come has the form that its grammar gives it, whatever the model was taught.
        self._forced = choose("json", "none", template)

    def of(self, request: ChatRequest) -> OutputFormat:
        """The format of the answer to a request."""
        return self._forced if request.forced_tools else self._usual

    def check_tools(self, request: ChatRequest) -> None:
        """Raises UnsupportedParameter when the model may call tools and nobody could read the calls."""
        if request.offered_tools and self.of(request).tools is None:
            raise UnsupportedParameter(
                f"tools has {len(request.tools)} entries, and this server reads no calls: its model's chat "
                "template shows no known format of them; leave tools out, or let the operator name a format "
                "with --tool-call-parser",
                param="tools",
            )

    def shown(self, request: ChatRequest) -> tuple[Dicts, Dicts]:
        """Messages and tools as the chat template gets them."""
        messages = [message.for_template() for message in request.messages]
        tools = [tool.for_template() for tool in request.offered_tools]
        output_format = self.of(request)
        if output_format.tools is None and any("tool_calls" in message for message in messages):
            output_format = self._forced  # calls that were forced are shown as they were written
        if output_format.describes_tools:
            assert output_format.tools is not None
            return describe_tools(messages, tools, output_format.tools), []
        return messages, tools
