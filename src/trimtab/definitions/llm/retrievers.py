"""Retrievers: documents that a prompt gets for a request."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from trimtab.places import Placed


@dataclass
class Retriever(Placed):
    """The nearest documents of a table, put into the prompt as the untrusted variable `documents`.

    Args:
        name: letters, digits and single underscores.
        table: a source of the project with one row a document.
        text: its column with the text.
        id: its column with the document's id, which is logged with the turn.
        k: how many documents.
        embed: "tfidf", or "all-minilm-l6-v2" with the extra `embeddings`.
        query: variable of the prompt that is searched for; None: the last user message.
    """

    name: str
    _: KW_ONLY
    table: str
    text: str
    id: str
    k: int = 5
    embed: str = "tfidf"
    query: str | None = None
