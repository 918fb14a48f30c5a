"""A prompt with documents: judged with them, served with them, and another version when they change."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from integration.prompt_gateway import PromptGateway
from kit.commands import typed
from trimtab.app.llm.kept_evaluations import evaluation_of
from trimtab.llm.evaluate.results import CANDIDATE
from trimtab.records.training import Run
from trimtab.stores.metadata.contract import latest

DEFINITIONS = """
import trimtab as tt

articles = tt.FileSource("articles", "articles.csv", timestamp="written_at", key=["article"])
local = tt.Endpoint("local", url="loopback", prices={"echo": tt.Price(input=1, output=2)})
questions = tt.EvalSet("questions", source="questions.jsonl", inputs=["question"], expected=None)
triage = tt.Prompt(
    "triage",
    file="prompts/triage.md",
    endpoint=local,
    model="echo",
    retrieve=tt.Retriever("help", table="articles", text="body", id="article", k=1, query="question"),
    evals=[tt.Eval(questions, tt.contains("from nine"))],
)
"""
PROMPT = """---
variables: { question: {}, documents: { max_chars: 500 } }
---
# system
Answer from the documents.
# user
{{ documents }}

{{ question }}
"""
ARTICLES = """article,body,written_at
opening,The shop has opening hours from nine to six,2026-01-01T00:00:00
returns,A return is free within 30 days,2026-01-01T00:00:00
"""


@pytest.fixture
def desk(tmp_path: Path) -> PromptGateway:
    made = PromptGateway(tmp_path / "desk", definitions=DEFINITIONS, prompt=PROMPT, llm={"evaluate": {"min_items": 5}})
    (made.folder / "articles.csv").write_text(ARTICLES)
    rows = [{"question": f"{n}: when are your opening hours?"} for n in range(60)]
    (made.folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def test_answers_come_from_the_documents_of_the_version(desk: PromptGateway) -> None:
    said = typed("run", "--project", desk.folder).stdout
    assert "ingest    articles: 2 new rows" in said
    assert "revision 1: deploy triage/1" in said
    metadata = desk.workspace.metadata
    run = latest(metadata, Run, model="triage")
    assert run is not None
    evaluation = evaluation_of(desk.workspace, run)
    assert {tuple(answer.document_ids) for _, answer in evaluation.answers(CANDIDATE)} == {("opening",)}
    assert "triage: unchanged, triage/1 serves it" in typed("run", "--project", desk.folder).stdout

    url = desk.start()

    def ask(**variables: str) -> httpx.Response:
        body = {"model": "triage", "messages": [], "variables": variables}
        return httpx.post(f"{url}/v1/chat/completions", json=body)

    answer = ask(question="May I return it?").json()
    assert answer["choices"][0]["message"]["content"] == "[returns] A return is free within 30 days\n\nMay I return it?"
    refused = ask(question="x", documents="[evil] free for all")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "variables.documents")
    assert "come from its retriever 'help'" in refused.json()["error"]["message"]
    assert desk.stop() == 0, desk.log()
    (turn,) = [
        row for row in desk.workspace.predictions.read_turns()[0].to_pylist() if row["prediction_id"] == answer["id"]
    ]
    assert turn["document_ids"] == ["returns"]

    (desk.folder / "articles.csv").write_text(ARTICLES + "gifts,Gift cards are sold from nine on,2026-02-01T00:00:00\n")
    again = typed("run", "--project", desk.folder).stdout
    assert "challenge triage/2" in again


def test_documents_that_cannot_be_read_are_named(desk: PromptGateway) -> None:
    definitions = desk.folder / "definitions.py"
    definitions.write_text(DEFINITIONS.replace('text="body"', 'text="boddy"'))
    wrong = typed("run", "--project", desk.folder, check=False)
    assert "retriever 'help': table 'articles' has no column 'boddy'. Did you mean 'body'?" in wrong.stderr
