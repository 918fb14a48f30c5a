"""Runs in the environment of Airflow: python airflow_calls.py FILE RUN_CONF, with AIRFLOW_HOME of a migrated database.

Prints a line of JSON: import errors, tasks with their upstream tasks, schedule, and the states of a run.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from airflow.dag_processing.dagbag import DagBag

APPROVAL = re.compile(r".*approval")
"""The task that a person would answer; it counts as answered."""


def main(file: str, conf: str) -> int:
    """Load the DAG as the DAG processor does; run it unless conf is empty."""
    bag = DagBag(file)
    found: dict[str, Any] = {"errors": bag.import_errors}
    for name, dag in bag.dags.items():
        found[name] = {
            "tasks": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks},
            "schedule": str(dag.schedule),
            "retries": sorted({task.retries for task in dag.tasks}),
            "max_active_runs": dag.max_active_runs,
            "catchup": dag.catchup,
        }
        if conf:
            run = dag.test(run_conf=json.loads(conf), mark_success_pattern=APPROVAL)
            found[name]["state"] = str(run.state)
            found[name]["states"] = {
                each.task_id: [str(each.state), each.try_number] for each in run.get_task_instances()
            }
    print("RESULT " + json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
