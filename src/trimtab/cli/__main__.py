"""`python -m trimtab.cli`: how child processes are started, whatever is on the PATH."""

import sys

from trimtab.cli.entry import main

sys.exit(main())
