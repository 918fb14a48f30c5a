"""Lints and renders charts with Helm's own code; runs in an environment with helm-python-sdk.

Reads from standard input a list of [chart folder, release, values]; writes for each what lint and rendering gave.
"""

from __future__ import annotations

import json
import sys

import helm_python


def main() -> None:
    """Answer with JSON."""
    found = []
    for folder, release, values in json.load(sys.stdin):
        try:
            rendered = helm_python.Chart.load(folder).render(values, name=release, namespace="n")
        except helm_python.HelmError as error:
            rendered = {"error": str(error)}
        found.append({"lint": helm_python.lint(folder, strict=True), "rendered": rendered})
    json.dump(found, sys.stdout)


main()
