"""Which conversation and which user a turn belongs to, and so which version answers it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.serving.chat.chat_errors import ChatRefused
from trimtab.serving.chat.chat_request import ChatRequest
from trimtab.serving.requests import MAX_ID

HEADER = b"x-trimtab-conversation"
SHADOWED = "shadow"


def conversation_of(request: ChatRequest, header: str | None, token: str) -> str:
    """Return the conversation of a turn: that of the header, of metadata.conversation_id, else a hash.

    The hash is of token, user and first user message, which all turns of a conversation send again; without one, of the
    variables. Two tokens never share a conversation. Raises ChatRefused for an id that is too long.
    """
    given = header or request.conversation
    if given is not None:
        if len(given) > MAX_ID:
            raise ChatRefused(400, f"the id of the conversation has {len(given)} characters; expected at most {MAX_ID}")
        return f"{token}\x1f{given}"
    first = next((message.get("content") for message in request.messages if message["role"] == "user"), None)
    opening = first if first is not None else request.variables
    content = msgspec.json.encode([token, request.user, opening], order="deterministic")
    return hashlib.sha256(content).hexdigest()


def sticky_key(request: ChatRequest, conversation: str, token: str, sticky: str) -> tuple[str, ...]:
    """Return what keeps a turn with one version. sticky: of the policy. Raises ChatRefused without a user."""
    if sticky == "conversation":
        return (conversation,)
    if not request.user:
        raise ChatRefused(400, "user is missing; llm.sticky of trimtab.yaml keeps users with a version", param="user")
    return (token, request.user)


def turn_number(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the place of a turn in its conversation, from 1: how many messages of the user there are."""
    return max(1, len([message for message in messages if message["role"] == "user"]))
