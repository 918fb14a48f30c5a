"""The program of a worker of the gateway of prompts: python -m trimtab.app.gateway.chat_program FILE.

Opens the prediction log and the ledger. It loads no model, no metadata store and no dataframes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from trimtab.app.gateway.other_gateway import from_prompts
from trimtab.app.project.process_files import read_progress
from trimtab.bundle.prompt_spec import EndpointSpec
from trimtab.clock import SystemClock
from trimtab.llm.loopback.starting import resolved
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_rules import spend_rules
from trimtab.llm.redaction.project_key import project_key
from trimtab.llm.redaction.redactor import Redactor
from trimtab.llm.upstream.upstream_client import Upstream
from trimtab.policy.llm.section_llm import Llm
from trimtab.serving.chat.call_books import CallBooks
from trimtab.serving.chat.chat_routes import routes
from trimtab.serving.chat.chat_service import ChatService
from trimtab.serving.chat.loaded_prompt import LoadedPrompt, load_prompt
from trimtab.serving.chat.turn_log import TurnLog
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Access, Route
from trimtab.serving.orders import BundleOrder, Configure
from trimtab.serving.processes.worker import WorkerResources, run_worker
from trimtab.serving.protocols import feedback, health
from trimtab.stores.catalog import open_predictions, open_spend
from trimtab.stores.predictions.contract import Predictions


class PromptService:
    """What a worker of the gateway of prompts answers with. setup: of its configuration."""

    def __init__(self, setup: dict[str, str], predictions: Predictions, clock: SystemClock) -> None:
        root = Path(setup["root"])
        self._llm = Llm.model_validate_json(setup["llm"])
        self._predictions, self._clock = predictions, clock
        redact = self._llm.redact
        self._key = project_key(root, self._llm.store.key)
        self._redactor = Redactor(redact.detect, redact.patterns, self._key)
        self._ledger = Ledger(open_spend(setup.get("metadata"), root), root, spend_rules(self._llm), clock)
        self._locate = partial(resolved, run_folder=Path(setup["run_folder"]))
        self._endpoints = msgspec.json.decode(setup["endpoints"], type=dict[str, EndpointSpec])
        self._chats: ChatService | None = None

    def load(self, order: BundleOrder) -> LoadedPrompt:
        """Verify and open the bundle of a prompt."""
        return load_prompt(order)

    def routes(self, gateway: Gateway, access: Access | None) -> list[Route]:
        """Return the routes of prompts, feedback and health."""
        upstream = Upstream(self._llm.timeouts, self._llm.retry, locate=self._locate)
        log = TurnLog(gateway, self._predictions, self._redactor, self._llm.store)
        books = CallBooks(self._ledger, self._clock)
        self._chats = ChatService(gateway, access, self._llm, upstream, books, log, self._endpoints)
        also = {"feedback": feedback.routes(gateway, self._key), "health": health.routes(gateway)}
        return [*routes(self._chats), *(route.of(name) for name, each in also.items() for route in each)]

    async def close(self) -> None:
        """End what runs beside the answers, and book what has ended."""
        if self._chats is not None:
            await self._chats.close()


def open_resources(first: Configure) -> WorkerResources:
    """Open what the setup names."""
    setup, clock = first.setup, SystemClock()
    predictions = open_predictions(
        setup.get("predictions"),
        Path(setup["root"]),
        writer=f"chat{first.worker}",
        segment_rows=int(setup["segment_rows"]),
        segment_age_s=float(setup["segment_age_s"]),
    )
    return WorkerResources(
        predictions=predictions,
        service=PromptService(setup, predictions, clock),
        clock=clock,
        is_steered=lambda run_folder: read_progress(run_folder) is not None,
        elsewhere=partial(from_prompts, run_folder=Path(setup["run_folder"]), own_folder=Path(first.run_folder)),
    )


if __name__ == "__main__":
    run_worker(open_resources)
