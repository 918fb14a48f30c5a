"""`make bench`: every benchmark in turn. One alone: python -m benchmarks.NAME"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run all benchmarks as processes of their own; return the worst exit code."""
    worst = 0
    for folder in sorted(path.parent for path in Path(__file__).parent.glob("*/__main__.py")):
        print(f"\n== {folder.name}", flush=True)
        worst = max(worst, subprocess.run([sys.executable, "-m", f"benchmarks.{folder.name}"], check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
