"""Standing: what the engine is told about whose request it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redline.errors import RequestError
from redline.server.authentication import ANYONE
from redline.server.keys import ApiKey

if TYPE_CHECKING:
    from redline.protocol.embeddings import EmbeddingRequest
    from redline.protocol.generation import GenerationRequest
    from redline.protocol.scoring import PairsRequest
    from redline.server.service import Service


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands among others; none of it changes its answer."""

    priority: int  # the lower goes first
    tenant: str  # whom fairness counts it for
    cache_salt: str  # requests with another one share no cached prompts with it


def standing(
    request: GenerationRequest | EmbeddingRequest | PairsRequest, caller: ApiKey, service: Service
) -> Standing:
    """The key's own priority and name, and what the request adds. Raises RequestError."""
    _check_priority(request.priority, caller, service.engine.order)
    tenant = tenant_of(caller)
    shared = caller is ANYONE or service.config.share_cache_between_keys
    salt = request.cache_salt or ""
    return Standing(
        caller.priority + request.priority,
        tenant,
        salt if shared else f"{tenant}/{salt}",  # a name has no slash: no salt reaches into another key's
    )


def tenant_of(caller: ApiKey) -> str:
    """Whom fairness counts the requests of `caller` for; all the same where there are no keys."""
    return "" if caller is ANYONE else caller.name


def _check_priority(priority: int, caller: ApiKey, order: str) -> None:
    if priority != 0 and order != "priority":
        raise RequestError(
            f"priority is {priority}; this server does not go by it: leave it out, or start the server with "
            "--order priority",
            param="priority",
        )
    if priority < 0 and caller is not ANYONE:
        raise RequestError(
            f"priority is {priority}; a request may give way to others of its key, but not go before them: "
            "send 0 or more",
            param="priority",
        )
