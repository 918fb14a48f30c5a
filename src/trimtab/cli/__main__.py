"""`python -m trimtab.cli`: how child processes are started, so that they do not depend on the PATH."""

import sys

from trimtab.cli.entry import main

sys.exit(main())
