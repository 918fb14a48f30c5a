"""Sends tickets to the gateway and rates the answers, as customers would: python traffic.py --conversations 400.

A customer whose ticket went into a wrong queue gives a thumb down half of the time; one in ten of the others gives a
thumb up. `--file data/drifted.jsonl` sends a mix with a new topic. Needs the gateway of `trimtab up`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

COMPLAINS, PRAISES = 0.5, 0.1


def post(url: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """Send a request, and return the answer."""
    token = os.environ.get("TRIMTAB_TOKEN")
    own = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {}), **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), own)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read() or b"{}")
        return found


def talk(url: str, row: dict[str, str]) -> bool:
    """Send a ticket, rate the answer, and return True if it named the right queue."""
    body = {"model": "triage", "variables": {"ticket": row["ticket"]}, "messages": [], "user": row["user"]}
    answer = post(f"{url}/v1/chat/completions", body, {"x-trimtab-conversation": row["conversation"]})
    queue = json.loads(answer["choices"][0]["message"]["content"])["queue"]
    right = queue == row["queue"]
    chance = random.Random(row["conversation"]).random()
    if chance < (PRAISES if right else COMPLAINS):
        rating = {"id": answer["id"], "name": "thumbs", "value": "up" if right else "down"}
        post(f"{url}/v2/models/triage/feedback", rating, {})
    return right


def again(rows: list[dict[str, str]], number: int) -> dict[str, str]:
    """Return a row; after the last one the first follows, as another conversation."""
    turn, place = divmod(number, len(rows))
    return {**rows[place], "conversation": f"{rows[place]['conversation']}-{turn}"}


def paced(rows: list[dict[str, str]], seconds: float) -> Iterator[dict[str, str]]:
    """Yield rows, each so many seconds after the one before."""
    start = time.monotonic()
    for number, row in enumerate(rows):
        time.sleep(max(0.0, start + number * seconds - time.monotonic()))
        yield row


def running() -> str:
    """Return the address of the gateway of this project, which it leaves in the project's folder."""
    found = sorted(Path(__file__).parent.glob(".trimtab/run/**/gateway.json"))
    if not found:
        sys.exit("no gateway of this project runs; start it with: trimtab up")
    told = json.loads(found[-1].read_text(encoding="utf-8"))
    return f"http{'s' if told.get('tls') else ''}://{told['host']}:{told['port']}"


def main() -> None:
    """Send a part of a file, and say how many tickets went into the right queue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of the gateway; left out, that of this project")
    parser.add_argument("--file", type=Path, default=Path("data/live.jsonl"), help="tickets as JSON lines")
    parser.add_argument("--first", type=int, default=0, help="row to begin with")
    parser.add_argument("--conversations", type=int, default=400, help="how many rows")
    parser.add_argument("--a-minute", type=float, default=600, help="most conversations a minute")
    parser.add_argument("--at-once", type=int, default=8, help="requests at the same time")
    given = parser.parse_args()
    url = given.url or running()
    rows = [json.loads(line) for line in given.file.read_text(encoding="utf-8").splitlines()]
    rows = [again(rows, number) for number in range(given.first, given.first + given.conversations)]
    try:
        with ThreadPoolExecutor(given.at_once) as pool:
            right = sum(pool.map(lambda row: talk(url, row), paced(rows, 60 / given.a_minute)))
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.url}: {error.code}: {error.read().decode(errors='replace')}")
    except urllib.error.URLError as error:
        sys.exit(f"{url}: {error.reason}; start the gateway with: trimtab up")
    print(f"{len(rows)} tickets, {right} in the right queue")


if __name__ == "__main__":
    main()
