"""The script that draws charts in a browser: Vega, Vega-Lite and Vega-Embed, as the installed vl-convert carries them.

A page loads it as a module (its one-letter names would be global in a classic script); it sets `window.vegaEmbed`,
`window.vega` and `window.vegaLite`. With a content policy without `unsafe-eval` charts need the options
`ast: true`, the interpreter that the bundle carries, and `defaultStyle: false`.
"""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

from trimtab.charts.svg import need_charts, run_child

HASH_DIGITS = 16
PROGRAM = "import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle())"


def browser_bundle(cache: Path) -> Path:
    """Return the file of the bundle; write it when the installed version has none yet, in a child process (3 s).

    The name has the hash of the contents, `vega-HASH.js`: a browser may keep it for ever.

    Args:
        cache: folder of Trimtab's cache.

    Raises:
        MissingExtra: the extra `console` is not installed.
        StageError: the bundle cannot be made.
    """
    need_charts()
    folder = cache / "charts" / f"vl-convert-{version('vl-convert-python')}"
    found = sorted(folder.glob("vega-*.js"))
    if found:
        return found[0]
    text = run_child(PROGRAM)
    digest = hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"vega-{digest}.js"
    part = folder / f".{path.name}.{os.getpid()}"
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
