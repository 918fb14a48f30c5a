"""The same estimator gives the same bytes of a skops file, in this process and in others."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from skops.io import dumps, get_untrusted_types, loads

from trimtab.training.canonical import canonical_skops
from trimtab.training.native_files import native_file

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(float)
PROGRAM = """
import hashlib
from unit.training.test_training_canonical import estimators
from trimtab.training.native_files import native_file
for estimator in estimators().values():
    print(hashlib.sha256(native_file(estimator).content).hexdigest())
"""


def estimators() -> dict[str, Any]:
    """Fitted estimators that skops writes."""
    forest = RandomForestClassifier(3, random_state=0)
    boosted = GradientBoostingClassifier(n_estimators=3, random_state=0)
    voting = VotingClassifier([("forest", forest), ("boosted", boosted)], voting="soft")
    return {
        "pipeline": make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()).fit(X, Y),
        "voting": voting.fit(X, Y),
        "neighbours": make_pipeline(KNNImputer(), KNeighborsClassifier()).fit(X, Y),
    }


def digests() -> list[str]:
    return [hashlib.sha256(_content(estimator)).hexdigest() for estimator in estimators().values()]


def _content(estimator: Any) -> bytes:
    native = native_file(estimator)
    assert native is not None
    return native.content


def test_the_same_training_gives_the_same_bytes_here_and_in_another_process() -> None:
    # when the estimators are fitted again, with other objects in memory, and in a process with other hashes
    first = digests()
    kept = [object() for _ in range(1000)]
    assert digests() == first, len(kept)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": "tests"},
    )
    assert done.stdout.split() == first


@pytest.mark.parametrize("name", estimators())
def test_what_is_read_back_is_the_same_estimator(name: str) -> None:
    estimator = estimators()[name]
    content = _content(estimator)
    found = loads(content, trusted=get_untrusted_types(data=content))
    np.testing.assert_array_equal(found.predict_proba(X), estimator.predict_proba(X))


def test_sets_and_sparse_matrices_have_one_form_too() -> None:
    # given objects with a set in different orders, a matrix in a zip file, and an array that two attributes share
    def made(names: list[str]) -> Any:
        holder = DictVectorizer()
        holder.names = set(names)
        holder.matrix = csr_matrix(np.eye(3))
        holder.first = holder.second = np.arange(4)
        return holder

    names = [f"name-{number}" for number in range(50)]
    one, other = (canonical_skops(dumps(made(order))) for order in (names, names[::-1]))
    assert one == other
    found = loads(one, trusted=get_untrusted_types(data=one))
    assert found.names == set(names)
    assert found.first is found.second
    np.testing.assert_array_equal(found.matrix.toarray(), np.eye(3))
