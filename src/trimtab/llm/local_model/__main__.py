"""`python -m trimtab.llm.local_model`: serve a local model. It prints its URL and models as JSON when it listens."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

import msgspec

from trimtab.errors import TrimtabError
from trimtab.llm.local_model.local_server import LocalServer
from trimtab.llm.local_model.local_weights import LocalModel

MISSING = "{} cannot be imported; serve with an environment that has torch, transformers and, for adapters, peft\n"


def main() -> None:
    """Serve until SIGINT or SIGTERM. Exit code 2: the folders are wrong; 3: the port is taken, or a library missing."""
    parser = argparse.ArgumentParser(prog="python -m trimtab.llm.local_model", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of weights and tokenizer of transformers")
    parser.add_argument("--adapter", type=Path, action="append", default=[], help="folder of peft; may be repeated")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    given = parser.parse_args()
    try:
        server = LocalServer(LocalModel(given.base, given.adapter), given.port)
    except ImportError as error:
        parser.exit(3, MISSING.format(error.name))
    except TrimtabError as error:
        parser.exit(2, f"{error}\n")
    except OSError as error:
        parser.exit(3, f"{error}\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(msgspec.json.encode({"url": server.url, "models": server.model.names}).decode(), flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
