"""A prompt as a worker serves it: a bundle without a scorer, which routes and rolls back as models do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.bundle.manifest import verify
from trimtab.bundle.prompt_spec import PromptSpec, read_prompt
from trimtab.bundle.spec import Task, read_spec
from trimtab.errors import DataError, TrimtabError
from trimtab.llm.answer_format import AnswerSchema
from trimtab.llm.document_index import DocumentIndex, open_index
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.orders import BundleOrder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

ROWS = "prompt '{name}' takes chats, not rows: POST /v1/chat/completions"


class NoRows:
    """Stands for scorer and vectorizer of a prompt, which refuses rows."""

    task: Task = "chat"
    in_process = True

    def __init__(self, name: str) -> None:
        self._name = name

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Raise DataError."""
        raise DataError(ROWS.format(name=self._name))

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        """Raise DataError."""
        raise DataError(ROWS.format(name=self._name))

    def close(self) -> None:
        """Do nothing: connections belong to the endpoint."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedPrompt(LoadedBundle):
    """A version of a prompt that is ready to serve."""

    prompt: PromptSpec
    schema: AnswerSchema | None
    """Of its answers; None: any text."""
    index: DocumentIndex | None = None
    """Of its retriever; None without one."""
    is_direct: bool = False
    """Whether clients named endpoint and model themselves: then it brings no message of its own."""


def load_prompt(order: BundleOrder) -> LoadedPrompt:
    """Verify and open the bundle of a prompt. Raises DataError that names it."""
    folder = Path(order.folder)
    try:
        if order.digest:
            verify(folder, order.digest)
        spec, prompt = order.spec or read_spec(folder), read_prompt(folder)
        if spec.model != order.model:
            raise DataError(f"{folder}: made for prompt '{spec.model}', registered for '{order.model}'")
        schema = None if prompt.schema is None else AnswerSchema(prompt.schema)
        index = None if prompt.retriever is None else open_index(folder)
    except TrimtabError as error:
        raise DataError(f"bundle {order.id} cannot be loaded: {error}") from error
    rows = NoRows(spec.model)
    return LoadedPrompt(
        id=order.id,
        version=order.version,
        digest=order.digest,
        spec=spec,
        scorer=rows,
        vectorizer=rows,
        recipe=(order.id,),
        folder=folder,
        prompt=prompt,
        schema=schema,
        index=index,
    )
