"""`trimtab test` as a whole: models of two tasks, one of them broken, the other one asked by the real gateway."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from kit.commands import typed
from kit.contract_projects import break_trainer, make_loans


def test_a_broken_trainer_fails_its_model_and_the_other_one_is_served(tmp_path: Path) -> None:
    project = make_loans(tmp_path / "project")
    report = project / ".trimtab" / "ci" / "test.xml"
    break_trainer(project, "risk", r"raise KeyError('no such\ncolumn')")
    done = typed("test", "-p", project, "--rows", "150", "--junit", report, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = {line.split(" s  ", 1)[1].rsplit(": ", 1)[0]: line for line in done.stdout.splitlines() if " s  " in line}
    (failed,) = [line for line in lines.values() if line.startswith("fail")]
    assert f"model risk: trainer: {project}/definitions.py:" in failed
    assert "KeyError" in failed
    assert "Traceback" not in done.stdout + done.stderr
    for line in (
        "model loss: served scores: 5 answers as from the bundle in this process",
        "model loss: served features: 3 features of 5 answers as in training",
        "skip    0.0 s  model risk: bundle: nothing was trained",
        "skip    0.0 s  project: tests: the project has no folder tests/",
    ):
        assert line in done.stdout
    assert sorted(path.name for path in (project / ".trimtab").iterdir()) == [".gitignore", "ci"]
    suite = ElementTree.parse(report).getroot()[0]
    assert (suite.get("failures"), suite.get("tests")) == ("1", str(len(lines)))
