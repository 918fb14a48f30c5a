"""Masks answers to clients, where `llm.redact.outbound` says so: whole ones, and streams with some delay."""

from __future__ import annotations

from typing import Any

from trimtab.llm.redaction.redactor import Redactor, StreamMask

Place = tuple[int, str, int]
"""Of a text in a stream: choice, what it is, and the number of the tool call."""


class OutboundMasks:
    """The masks of one answer: a value has one name in all of its texts."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._masks = redactor.turn()
        self._streams: dict[Place, StreamMask] = {}

    def text(self, text: str) -> str:
        """Return a whole text, masked."""
        return self._masks.shown(text)

    def body(self, body: dict[str, Any]) -> dict[str, Any]:
        """Mask all texts of a whole answer, in place, and return it."""
        for choice in body.get("choices") or ():
            message = choice.get("message") or {}
            for name in ("content", "refusal"):
                if isinstance(message.get(name), str):
                    message[name] = self.text(message[name])
            for call in message.get("tool_calls") or ():
                function = call.get("function") or {}
                if isinstance(function.get("arguments"), str):
                    function["arguments"] = self.text(function["arguments"])
        return body

    def event(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what may be sent when a chunk of a stream has come: none, it, or what was held back and it."""
        choices = body.get("choices") or []
        if not choices:
            return [body]
        held: list[dict[str, Any]] = []
        kept = []
        for choice in choices:
            index, delta = int(choice.get("index") or 0), choice.get("delta") or {}
            had_text = self._mask(index, delta)
            ends = choice.get("finish_reason") is not None
            if ends:
                held += [{**choice, "delta": rest, "finish_reason": None} for rest in self._rest(index)]
            if ends or not had_text or any(delta.get(name) for name in ("content", "refusal", "tool_calls", "role")):
                kept.append(choice)
        found = [{**body, "choices": held}] if held else []
        return [*found, {**body, "choices": kept}] if kept else found

    def _mask(self, index: int, delta: dict[str, Any]) -> bool:
        """Mask the texts of a delta in place; return True if there were any."""
        had_text = False
        for name in ("content", "refusal"):
            if isinstance(delta.get(name), str) and delta[name]:
                had_text = True
                delta[name] = self._stream((index, name, 0)).feed(delta[name])
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            if isinstance(function.get("arguments"), str) and function["arguments"]:
                place = (index, "arguments", int(call.get("index") or 0))
                function["arguments"] = self._stream(place).feed(function["arguments"])
        return had_text

    def _rest(self, index: int) -> list[dict[str, Any]]:
        """Return deltas with what is held back of a choice."""
        found: list[dict[str, Any]] = []
        for (choice, name, number), stream in self._streams.items():
            if choice != index or not (text := stream.end()):
                continue
            if name == "arguments":
                found.append({"tool_calls": [{"index": number, "function": {"arguments": text}}]})
            else:
                found.append({name: text})
        return found

    def _stream(self, place: Place) -> StreamMask:
        found = self._streams.get(place)
        if found is None:
            found = self._streams[place] = StreamMask(self._masks, self._redactor)
        return found
