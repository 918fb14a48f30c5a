"""Runs in the environment of Dagster: python dagster_calls.py FILE [JOB CONFIG], the configuration of a run as JSON.

Prints a line of JSON: the assets with what they are made from, the checks, and what a run in this process made.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg


def main(file: str, job: str = "", config: str = "{}") -> int:
    """Load the definitions; run a job if one is named."""
    spec = importlib.util.spec_from_file_location("orchestrated", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    defs: dg.Definitions = module.defs
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    found: dict[str, Any] = {
        "assets": {
            key.to_user_string(): sorted(each.to_user_string() for each in graph.get(key).parent_keys)
            for key in graph.get_all_asset_keys()
        },
        "checks": sorted(f"{each.asset_key.to_user_string()}:{each.name}" for each in graph.asset_check_keys),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        found["sensors"] = {
            each.name: tick(each(dg.build_sensor_context(instance=instance)))
            for each in (defs.sensors or ())
            if isinstance(each, dg.SensorDefinition)
        }
        found["schedules"] = {
            each.name: due(each, instance) for each in defs.schedules or () if isinstance(each, dg.ScheduleDefinition)
        }
        if job:
            found["run"] = ran(defs.resolve_job_def(job), json.loads(config), instance)
    print("RESULT " + json.dumps(found))
    return 0


def ran(job: dg.JobDefinition, config: dict[str, Any], instance: dg.DagsterInstance) -> dict[str, Any]:
    """Run a job in this process."""
    result = job.execute_in_process(run_config={"ops": config}, instance=instance, raise_on_error=False)
    made, judged = {}, {}
    for event in result.all_events:
        if event.is_step_materialization:
            one = event.step_materialization_data.materialization
            made[one.asset_key.to_user_string()] = {name: value.value for name, value in one.metadata.items()}
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            check = event.event_specific_data
            judged[f"{check.asset_key.to_user_string()}:{check.check_name}"] = {
                "passed": check.passed,
                "severity": check.severity.value,
                "why": check.description,
                "metadata": {name: value.value for name, value in check.metadata.items()},
            }
    states = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED", "STEP_UP_FOR_RETRY")
    steps = {e.step_key: e.event_type_value for e in result.all_events if e.event_type_value in states}
    return {"success": result.success, "made": made, "checks": judged, "steps": steps}


def tick(found: Any) -> dict[str, Any]:
    """Return what a sensor gave."""
    if isinstance(found, dg.SkipReason):
        return {"skipped": found.skip_message}
    return {"cursor": found.cursor, "events": [each.description for each in found.asset_events]}


def due(schedule: dg.ScheduleDefinition, instance: dg.DagsterInstance) -> list[str]:
    """Return the days of the next four weeks, at three o'clock, on which a schedule starts a run."""
    first = datetime(2026, 3, 1, 3, tzinfo=UTC)
    days = []
    for number in range(28):
        time = first + timedelta(days=number)
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=time)
        if schedule.evaluate_tick(context).run_requests:
            days.append(f"{time:%Y-%m-%d}")
    return days


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
