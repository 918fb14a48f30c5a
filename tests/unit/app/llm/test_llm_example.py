"""`trimtab init llm`: the project opens as it is, and its three prompts are as good as their names say."""

from __future__ import annotations

import json
from pathlib import Path

from trimtab.app.llm.prompt_versions import current_spec
from trimtab.app.project import templates
from trimtab.app.project.workspace import open_workspace
from trimtab.llm.chat_messages import render
from trimtab.llm.loopback.queue_rules import read_prompt, sort_text


def test_a_better_prompt_answers_better_and_a_worse_one_worse(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    assert "data/" in templates.init("llm", folder)
    rows = [json.loads(line) for line in (folder / "data" / "tickets.jsonl").read_text().splitlines()]
    assert (len(rows), len({row["ticket"] for row in rows})) == (300, 300)
    right = {}
    for name in ("triage", "triage_better", "triage_worse"):
        (folder / "prompts" / "triage.md").write_text((folder / "prompts" / f"{name}.md").read_text())
        spec = current_spec(open_workspace(folder))
        queues = (spec.schema or {})["properties"]["queue"]["enum"]
        right[name] = sum(
            sort_text(read_prompt(render(spec, {"ticket": row["ticket"]}), queues), 0, "classifier").queue
            == row["queue"]
            for row in rows
        )
    assert right["triage_worse"] + 40 < right["triage"] < right["triage_better"] - 30
