"""`POST /apply-template` (llama.cpp): a conversation as the text that the model sees."""

from __future__ import annotations

from redline.protocol.chat import ChatRequest, RenderedChat
from redline.server.call import ComputeEndpoint
from redline.server.chat_formats import ChatFormats
from redline.server.service import Service


class ApplyTemplateEndpoint(ComputeEndpoint[ChatRequest]):
    """It takes what chat completions take, and makes nothing of what is not about the prompt."""

    request_type = ChatRequest

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._formats = ChatFormats(service)

    def model_of(self, request: ChatRequest) -> str:
        return request.model

    def answer(self, request: ChatRequest) -> str:
        self._formats.check_tools(request)
        messages, tools = self._formats.shown(request)
        token_ids = self.engine.tokenize_chat(
            messages,
            tools or None,
            request.template_variables,
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
        )
        return RenderedChat(prompt=self.engine.tokenizer.decode(token_ids, False)).to_json()
