"""Retrievers: documents that a prompt gets for a request."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

from trimtab.definitions.arguments import check_name, check_text
from trimtab.definitions.feature_types import check_choice
from trimtab.definitions.llm.model_endpoints import check_count
from trimtab.places import Placed

Embedder = Literal["tfidf", "all-minilm-l6-v2"]
DOCUMENTS = "documents"
"""Variable of the template that holds the documents."""


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

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> tt.Retriever("articles", table="articles", text="body", id="article", k=3).embed
    'tfidf'
    """

    name: str
    _: KW_ONLY
    table: str
    text: str
    id: str
    k: int = 5
    embed: Embedder = "tfidf"
    query: str | None = None

    def __post_init__(self) -> None:
        check_name("Retriever", self.name)
        where = f"Retriever '{self.name}'"
        for argument in ("table", "text", "id"):
            check_text(f"{where}: {argument}", getattr(self, argument), argument)
        check_count(f"{where}: k", self.k)
        check_choice(f"{where}: embed", self.embed, get_args(Embedder))
        if self.query is not None:
            check_text(f"{where}: query", self.query, "question")
