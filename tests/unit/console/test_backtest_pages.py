"""The pages of backtests, and who may start one."""

from __future__ import annotations

from collections.abc import Callable

from kit.consoles import browser
from trimtab.app.backtest.kept_results import keep_result
from trimtab.app.backtest.policy_run import Change, PolicyRun
from trimtab.app.backtest.policy_table import PolicyTable, make_table
from trimtab.app.operations.backtest_orders import BacktestOrder
from trimtab.app.project.workspace import Workspace
from trimtab.policy.model import Prices
from trimtab.testing.judged import FIRST
from trimtab.units import MICROS

ID = "20260301-000000-aa"


def result() -> PolicyTable:
    day, windows = MICROS["d"], 20
    runs = [
        PolicyRun(
            name=name, task="binary", starts=[n * day for n in range(windows)], rows=[10] * windows,
            losses=[lost] * windows, money=[lost] * windows, windows=windows, retrained=[],
            changes=[Change(at=5 * day, action="deploy", champion=2, reason="")],
        )
        for name, lost in (("never", 10.0), ("policy", 8.0))
    ]  # fmt: skip
    return make_table(runs, model="risk", currency="EUR", prices=Prices())


def test_a_result_has_an_address_a_file_and_a_document(workspace: Workspace) -> None:
    keep_result(workspace, result(), BacktestOrder(id=ID, model="risk", created_at=FIRST, by="ann", vary=("a=1,2",)))
    client = browser(workspace)
    assert client.get("/backtest", follow_redirects=False).headers["location"] == "/models/risk/backtest"
    page = client.get(f"/models/risk/backtest/{ID}").text
    assert "This policy would have saved 40.00 EUR (40.00 to 40.00) over never retraining" in page
    assert client.get(f"/models/risk/backtest/{ID}.csv").text.splitlines()[2].startswith("policy,40.0,40.0,40.0,160.0,")
    assert client.get(f"/api/v1/models/risk/backtests/{ID}").json()["shown"]["order"]["by"] == "ann"
    assert client.get("/models/risk/backtest/nothing").status_code == 404


def test_an_empty_page_names_the_command_and_a_result_is_seen_at_once(workspace: Workspace) -> None:
    client = browser(workspace)
    page = client.get("/models/risk/backtest").text
    assert "trimtab backtest risk" in page
    assert "It never acts on what serves." in page
    keep_result(workspace, result(), BacktestOrder(id=ID, model="risk", created_at=FIRST, by="ann"))
    assert "This policy would have saved" in client.get("/models/risk/backtest").text, "no record tells of it"


def test_a_viewer_sees_why_the_button_is_off_and_the_api_refuses(
    guarded: Workspace, secret_of: Callable[..., str]
) -> None:
    client = browser(guarded)
    headers = {"authorization": f"Bearer {secret_of('reader', 'read')}"}
    page = client.get("/models/risk/backtest", headers=headers).text
    assert "needs the role developer on risk" in page
    assert "data-posts" not in page
    answer = client.post("/api/v1/models/risk/backtests", json={"reason": "a long reason"}, headers=headers)
    assert (answer.status_code, "needs the role developer on risk" in answer.text) == (403, True)
