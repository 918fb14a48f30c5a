"""The command that starts a gateway's worker."""

import sys

WORKER = (sys.executable, "-m", "trimtab.app.worker")
