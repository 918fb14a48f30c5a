"""The other gateway of a project that has models and prompts: where a path is served that this one does not have."""

from __future__ import annotations

from pathlib import Path

from trimtab.app.project.process_files import is_running
from trimtab.serving.chat import chat_errors
from trimtab.serving.endpoints import EncodeError, encode_error
from trimtab.serving.processes.listening import ANNOUNCEMENT, read_announcement

FOLDER = "prompts"
"""In the run folder of a project that serves models, too: the run folder of the gateway of prompts."""
OPENAI = (
    *("assistants", "audio", "batches", "chat", "completions", "conversations", "embeddings", "files", "fine_tuning"),
    *("images", "moderations", "realtime", "responses", "threads", "vector_stores"),
)
"""What follows /v1/ in paths of OpenAI's API; `models` is in that of KServe, too."""
CHATS = "POST /v1/chat/completions"


def from_models(path: str, is_known: bool, run_folder: Path) -> tuple[str, EncodeError] | None:
    """Return the error of the gateway of models for a path of prompts, and its shape; None for any other path.

    Args:
        path: that no route of this gateway has with this method.
        is_known: whether one has it with another method.
        run_folder: of the project.
    """
    parts = path.split("/", 3)
    if is_known or len(parts) < 3 or parts[1] != "v1" or parts[2] not in OPENAI:
        return None
    url = _running(run_folder / FOLDER)
    if url is None:
        return None
    text = f"nothing is served at {path:.200} of the gateway of models; prompts are served at {url}/v1 ({CHATS})"
    return text, chat_errors.encode_error


def from_prompts(path: str, is_known: bool, run_folder: Path, own_folder: Path) -> tuple[str, EncodeError] | None:
    """Return the error of the gateway of prompts for a path that it does not have, and its shape; None for a known one.

    Args:
        path: that no route of this gateway has with this method.
        is_known: whether one has it with another method.
        run_folder: of the project.
        own_folder: run folder of this gateway; the same where no models are served.
    """
    verb = path.rpartition("/")[2].rpartition(":")[0]  # such as delay of /v1/models/delay:predict
    if is_known and not verb:
        return None
    if path.startswith("/v1/") and not verb:
        return f"nothing is served at {path:.200}; prompts answer {CHATS}", chat_errors.encode_error
    url = None if own_folder == run_folder else _running(run_folder)
    if url is None:
        return None
    return f"nothing is served at {path:.200} of the gateway of prompts; models are served at {url}", encode_error


def _running(folder: Path) -> str | None:
    found = read_announcement(folder / ANNOUNCEMENT)
    return found.url if found is not None and is_running(found.pid) else None
