"""An environment from pins: made once, exactly them, with words where it cannot be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trimtab.app.runs.pinned_environment import OWN, changed_pins, differing_pins, make_environment
from trimtab.errors import StageError, UsageError


def test_an_environment_has_the_pins_and_this_trimtab_and_is_made_once(tmp_path: Path) -> None:
    python = make_environment((OWN,), "", cache=tmp_path, offline=True)
    code = (
        "import importlib.metadata as m; import trimtab.errors; print(*sorted(d.name for d in m.distributions())); "
        "print(m.version('trimtab'))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env={})
    assert done.stdout.split() == ["trimtab", OWN.partition("==")[2]]
    made = python.stat().st_mtime_ns
    assert make_environment((OWN,), "", cache=tmp_path, offline=True) == python
    assert python.stat().st_mtime_ns == made


def test_what_cannot_be_installed_is_named_with_a_way_on(tmp_path: Path) -> None:
    pins = (OWN, "nothing-of-this-name==1.0")
    with pytest.raises(StageError, match=r"nothing-of-this-name(?s:.*)Leave --offline out"):
        make_environment(pins, "", cache=tmp_path, offline=True)
    with pytest.raises(StageError, match="nothing-of-this-name"):  # a half-made environment is no environment
        make_environment(pins, "", cache=tmp_path, offline=True)
    with pytest.raises(StageError, match=r"Python 3\.9\.999"):
        make_environment((OWN,), "3.9.999", cache=tmp_path, offline=True)


def test_pins_are_changed_and_compared_by_name() -> None:
    pins = ("numpy==2.0", "scikit-learn==1.9.1")
    assert changed_pins(pins, ["scikit_learn==1.8.0"]) == ("numpy==2.0", "scikit-learn==1.8.0")
    assert differing_pins(pins, ["numpy==2.0", "scipy==1.0"]) == [("scikit-learn", "1.9.1", None)]
    with pytest.raises(UsageError, match=r"no package 'nunpy'\. Did you mean 'numpy'\?"):
        changed_pins(pins, ["nunpy==1.0"])
    with pytest.raises(UsageError, match="expected NAME==VERSION"):
        changed_pins(pins, ["numpy>=1.0"])
