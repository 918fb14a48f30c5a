"""What prompts have cost: limits of the policy, the verb, closed periods, settlement of turns in flight."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kit.commands import typed
from kit.consoles import browser
from kit.prompt_project import write_prompt_project
from trimtab.app.llm.spend.closed_periods import SpendUpkeep, close_periods
from trimtab.app.llm.spend.settlement import settle_file
from trimtab.app.llm.spend.spend_report import spend_report
from trimtab.app.llm.spending import open_ledger, spend_store
from trimtab.app.overviews.cost.cost_overview import cost_overview
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.store_checks import look_inside
from trimtab.clock import ManualClock
from trimtab.errors import DataError, NotFound, PolicyError
from trimtab.llm.money.spend_rules import spend_rules
from trimtab.llm.money.spend_scopes import Budget, BudgetExceeded, Caller, RateLimited
from trimtab.policy.llm.section_llm import Llm
from trimtab.records.llm import SpendClosed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CENT = 10**10
BUDGETS = "llm:\n  budgets:\n    project: { limit: 1/day }\n    user: { limit: 0.1/hour }\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "desk"
    write_prompt_project(folder)
    policy = folder / "trimtab.yaml"
    policy.write_text(policy.read_text() + BUDGETS)
    return replace(open_workspace(folder), clock=ManualClock(NOON))


def serve(workspace: Workspace, *costs: int, flying: int = 0) -> None:
    """Let turns cost something, and leave others in flight."""
    ledger = open_ledger(workspace)
    for number, cost in enumerate(costs):
        caller = Caller(prompt="triage", token="web", user="u1")
        hold = ledger.reserve_blocking(caller, bound=2 * CENT, purpose="serve", id=f"turn-{number}")
        ledger.settle(hold, cost, "estimated" if number == 1 else "reported", input=100, output=10)
    for number in range(flying):
        ledger.reserve_blocking(Caller(prompt="triage"), bound=3 * CENT, purpose="judge", id=f"flying-{number}")
    ledger.close()


def test_the_policy_gives_limits_also_to_shadows_and_judges() -> None:
    rules = spend_rules(
        Llm.model_validate({"budgets": {"purpose:judge": {"limit": "5/week", "when_spent": "fallback"}}})
    )
    assert rules.budgets["purpose:judge"] == Budget(5 * 10**12, "week", "fallback")
    assert rules.budgets["purpose:shadow"] == Budget(2 * 10**12, "day", "refuse")
    assert (rules.limits.requests, rules.limits.tokens, rules.limits.calls) == ((600, 60), (200_000, 60), 100)
    with pytest.raises(PolicyError, match=r"llm\.budgets\.project\.limit: 1e\+20 is too much"):
        spend_rules(Llm.model_validate({"budgets": {"project": {"limit": f"{10**20}/day"}}}))


def test_the_report_sums_by_scope_purpose_and_usage(workspace: Workspace) -> None:
    serve(workspace, CENT, CENT // 2, flying=1)
    found = {each.scope: each for each in spend_report(workspace).scopes}
    assert set(found) == {"project", "prompt:triage", "purpose:serve", "purpose:judge", "token:web", "user:u1"}
    project = found["project"]
    assert (project.limit, project.spent, project.held, project.calls) == (1.0, 0.045, 0.0, 3)
    assert project.by_purpose == {"judge": 0.03, "serve": 0.015}
    assert project.by_usage == {"assumed": 0.03, "estimated": 0.005, "reported": 0.01}
    assert project.estimated_share == pytest.approx(1 / 9)
    assert project.assumed_share == pytest.approx(2 / 3)
    assert (found["user:u1"].limit, found["user:u1"].end) == (0.1, NOON + timedelta(hours=1))
    with pytest.raises(NotFound, match="Did you mean 'prompt:triage'"):
        spend_report(workspace, scope="prompt:triag")


def test_a_user_who_has_spent_all_is_refused_and_others_are_not(workspace: Workspace) -> None:
    ledger = open_ledger(workspace)
    for number in range(5):
        hold = ledger.reserve_blocking(Caller(user="u1"), bound=2 * CENT, purpose="serve", id=f"{number}")
        ledger.settle(hold, 2 * CENT, "reported")
    with pytest.raises(
        BudgetExceeded, match="the budget of user:u1 is spent; it begins anew at 2026-03-01 13:00"
    ) as caught:
        ledger.reserve_blocking(Caller(user="u1"), bound=2 * CENT, purpose="serve", id="more")
    assert (caught.value.resets_at, caught.value.in_flight) == (NOON + timedelta(hours=1), False)
    assert caught.value.retry_after == 3600
    ledger.release(ledger.reserve_blocking(Caller(user="u2"), bound=2 * CENT, purpose="serve", id="other"))
    assert isinstance(workspace.clock, ManualClock)
    workspace.clock.move_to(NOON + timedelta(hours=1))
    ledger.release(ledger.reserve_blocking(Caller(user="u1"), bound=2 * CENT, purpose="serve", id="later"))
    ledger.close()


def test_a_token_at_its_rate_is_told_when_to_come_back(workspace: Workspace) -> None:
    ledger = open_ledger(workspace)
    caller = Caller(token="web")
    first = ledger.reserve_blocking(caller, bound=0, purpose="serve", id="first", tokens=150_000)
    with pytest.raises(RateLimited, match="the limit of 200,000 of token:web/tokens is reached") as caught:
        ledger.reserve_blocking(caller, bound=0, purpose="serve", id="second", tokens=60_000)
    assert caught.value.retry_after == 60
    ledger.settle(first, 0, "reported", input=900, output=100)  # the rest comes back
    second = ledger.reserve_blocking(caller, bound=0, purpose="serve", id="second", tokens=60_000)
    headers = ledger.headers(second)
    assert headers["x-ratelimit-limit-tokens"] == "200000"
    assert headers["x-ratelimit-remaining-tokens"] == str(200_000 - 1000 - 60_000)
    assert headers["x-ratelimit-remaining-requests"] == "598"
    assert headers["x-ratelimit-reset-requests"] == "60.000s"
    ledger.close()


def test_a_period_that_is_over_gets_one_record_and_another_when_it_was_settled(
    workspace: Workspace, tmp_path: Path
) -> None:
    serve(workspace, CENT, CENT // 2, flying=1)
    assert close_periods(workspace) == []
    assert isinstance(workspace.clock, ManualClock)
    workspace.clock.move_to(NOON + timedelta(days=1))
    made = {record.scope: record for record in SpendUpkeep(workspace).step()}
    assert set(made) == {"project", "prompt:triage", "purpose:serve", "purpose:judge", "token:web"}
    assert made["project"].id == "project/2026-03-01T00/2026-03-02T00"
    assert made["project"].by_usage == {"reported": CENT, "estimated": CENT // 2, "assumed": 3 * CENT}
    assert close_periods(workspace) == []
    export = tmp_path / "export.csv"
    export.write_text("generation_id,total_cost\nflying-0,0.002\nelsewhere,7\n")
    done = settle_file(workspace, export)
    assert (done.settled, done.unknown, done.before, done.after) == (1, 1, 0.03, 0.002)
    assert {record.id for record in close_periods(workspace)} >= {"project/2026-03-01T00/2026-03-02T00#2"}
    newest = workspace.metadata.find(SpendClosed, scope="project")[0]
    assert (newest.by_usage, newest.calls) == ({"reported": CENT + 2 * 10**9, "estimated": CENT // 2}, 3)
    workspace.clock.move_to(NOON + timedelta(days=5))
    close_periods(workspace)
    store = spend_store(workspace)
    assert not store.accounts(scopes=("user:u1",))
    store.close()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,price\nx,1\n", r"a\.csv:2: no value of cost; expected a column cost or total_cost"),
        ("a.csv", "id,cost\nx,-1\n", r"a\.csv:2: cost is '-1'; expected an amount of money"),
        ("a.csv", "id,cost\nx,NaN\n", "cost is 'NaN'"),
        ("a.csv", "id,cost\nx,1\nx,2\n", r"a\.csv:3: 'x' stands in line 2, too"),
        ("a.jsonl", '{"id": "x", "cost": 1}\n{"id"\n', r"a\.jsonl:2: no JSON object"),
        ("a.jsonl", '{"id": "x", "cost": 1, "input_tokens": 1.5}\n', "input_tokens is 1.5; expected a whole number"),
    ],
)
def test_a_file_with_a_wrong_value_settles_nothing(
    workspace: Workspace, tmp_path: Path, name: str, text: str, message: str
) -> None:
    serve(workspace, flying=1)
    (tmp_path / name).write_text(text.replace("x", "flying-0"))
    with pytest.raises(DataError, match=message.replace("x'", "flying-0'")):
        settle_file(workspace, tmp_path / name)
    assert spend_report(workspace).assumed_turns == 1


def test_the_verb_shows_and_settles(workspace: Workspace, tmp_path: Path) -> None:
    folder = workspace.project.folder
    assert "no turn has cost anything yet" in typed("spend", "--project", folder).stdout
    serve(workspace, CENT, flying=1)
    shown = typed("spend", "--project", folder, "--scope", "project").stdout
    assert "serve 0.01" in shown
    assert "1 turn count" in shown or "1 turns count" in shown
    listed = json.loads(typed("spend", "assumed", "--project", folder, "--json").stdout)
    assert [(each["id"], each["cost"]) for each in listed] == [("flying-0", 0.03)]
    corrected = tmp_path / "corrected.jsonl"
    corrected.write_text(json.dumps({**listed[0], "cost": 0.001}) + "\n")
    assert "0.03 " in typed("spend", "settle", corrected, "--project", folder).stdout
    report = json.loads(typed("spend", "--project", folder, "--json", "--scope", "project").stdout)
    assert (report["assumed_turns"], report["scopes"][0]["spent"]) == (0, 0.011)
    refused = typed("spend", "settle", "--project", folder, check=False)
    assert (refused.returncode, "which file?" in refused.stderr) == (2, True)


def test_the_page_of_costs_shows_prompts(workspace: Workspace) -> None:
    serve(workspace, CENT, flying=1)
    whole = cost_overview(workspace).prompts
    assert [each.scope for each in whole] == ["project", "prompt:triage", "purpose:judge", "purpose:serve"]
    assert [each.scope for each in cost_overview(workspace, ["triage"]).prompts] == ["prompt:triage"]
    page = browser(workspace).get("/cost?whole=true")
    assert page.status_code == 200
    assert "purpose:judge" in page.text
    assert "0.04" in page.text


def test_a_damaged_file_is_found_by_the_doctor_with_its_remedy(workspace: Workspace) -> None:
    serve(workspace, CENT)
    assert dict(look_inside(workspace))["spend"] == []
    path = workspace.root / "spend.db"
    path.write_bytes(b"no database" * 1000)
    (found,) = dict(look_inside(workspace))["spend"]
    assert "file is not a database" in found.fault.text
    assert "budgets then begin anew" in found.fault.remedy
