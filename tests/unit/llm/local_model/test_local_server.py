"""The HTTP side of a local model, with a model that repeats the question word by word."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import openai
import pytest

from trimtab.errors import DataError
from trimtab.llm.local_model.local_request import Ended, LocalRequest, NoSuchModel, before_stop
from trimtab.llm.local_model.local_server import LocalServer


class Repeating:
    """Repeats the last message; of a message `forever` without end."""

    names = ("repeat",)

    def __init__(self) -> None:
        self.closed = threading.Event()

    def answer(self, request: LocalRequest) -> Iterator[str | Ended]:
        """Give the words, then the end."""
        if request.model not in self.names:
            raise NoSuchModel(f"the model '{request.model}' does not exist.")
        text = request.messages[-1]["content"]
        if not text:
            raise DataError("the message is empty")
        try:
            while text == "forever":
                yield "word "
            words = text.split(" ")[: request.most_tokens]
            yield from before_stop((f"{word} " for word in words), request.stops)
            cut = len(words) < len(text.split(" "))
            yield Ended(finish_reason="length" if cut else "stop", input_tokens=7, output_tokens=len(words))
        finally:
            self.closed.set()


@pytest.fixture
def repeating() -> Repeating:
    """What the server serves."""
    return Repeating()


@pytest.fixture
def server(repeating: Repeating) -> Iterator[LocalServer]:
    """A server in a thread."""
    found = LocalServer(repeating)
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture
def client(server: LocalServer) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as found:
        yield found


def test_whole_answer_has_text_reason_and_usage(client: openai.OpenAI) -> None:
    """Limits and stop texts of the request hold, and tools are passed over."""
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    found = client.chat.completions.create(
        model="repeat",
        messages=[{"role": "user", "content": "one two END three"}],
        stop="END",
        tools=tools,  # type: ignore[arg-type]
        max_completion_tokens=3,
    )
    choice = found.choices[0]
    assert (choice.message.content, choice.finish_reason, choice.message.tool_calls) == ("one two ", "length", None)
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (7, 3, 10)
    assert [each.id for each in client.models.list()] == ["repeat"]


@pytest.mark.parametrize("with_usage", [True, False])
def test_stream_gives_pieces_then_reason_then_usage(client: openai.OpenAI, with_usage: bool) -> None:
    """The usage comes in a chunk of its own, where it was asked for; the connection goes on after a stream."""
    for _ in range(2):
        chunks = list(
            client.chat.completions.create(
                model="repeat",
                messages=[{"role": "user", "content": "one two"}],
                stream=True,
                stream_options={"include_usage": with_usage},
            )
        )
        choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
        assert [each.delta.content for each in choices] == ["", "one ", "two ", None]
        assert [each.finish_reason for each in choices] == [None, None, None, "stop"]
        usages = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
        assert usages == ([9] if with_usage else [])


def test_wrong_requests_get_errors_of_the_interface(client: openai.OpenAI) -> None:
    """Unknown models are 404; messages that do not fit, and values out of range, are 400."""
    with pytest.raises(openai.NotFoundError, match="'other' does not exist"):
        client.chat.completions.create(model="other", messages=[{"role": "user", "content": "one"}])
    with pytest.raises(openai.BadRequestError, match="the message is empty"):
        client.chat.completions.create(model="repeat", messages=[{"role": "user", "content": ""}])
    with pytest.raises(openai.BadRequestError, match=r"\$\.temperature"):
        client.chat.completions.create(model="repeat", messages=[{"role": "user", "content": "one"}], temperature=3)


@pytest.mark.parametrize("stream", [True, False])
def test_work_ends_when_the_client_leaves(repeating: Repeating, server: LocalServer, stream: bool) -> None:
    """An answer without end is closed, whole or streamed."""
    body = {"model": "repeat", "messages": [{"role": "user", "content": "forever"}], "stream": stream}
    try:
        with (
            httpx.Client(timeout=0.2) as client,
            client.stream("POST", f"{server.url}/chat/completions", json=body) as answer,
        ):
            next(answer.iter_lines())
    except httpx.TimeoutException:
        assert not stream
    assert repeating.closed.wait(10)
