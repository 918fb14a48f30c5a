"""Checks files and requests for Vertex AI with google-cloud-aiplatform: PYTHON vertex_calls.py FOLDER REQUESTS.

FOLDER is deploy/vertex of a project, with its compiled pipeline.json; REQUESTS a file with what deploy.py has sent.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from string import Template
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

VALUES = {"IMAGE_TAG": "v1", "ARTIFACTS": "gs://bucket/bundles/m/1"}
FILES = {"model.json": types.Model, "endpoint.json": types.Endpoint, "deployed-model.json": types.DeployedModel}
REQUESTS = {
    "models:upload": types.UploadModelRequest,
    "endpoints": types.Endpoint,
    "deployModel": types.DeployModelRequest,
    "undeployModel": types.UndeployModelRequest,
    "PATCH": types.Endpoint,
    "pipelineJobs": types.PipelineJob,
}


def parsed(kind: Any, value: Any) -> Any:
    """Return a message. Raises ParseError for a field that the API does not have."""
    message = kind.pb(kind())
    return json_format.ParseDict(value, message, ignore_unknown_fields=False)


def main(folder: str, requests: str) -> None:
    """Check all files, all requests, and the job of the pipeline."""
    for path in sorted(Path(folder).glob("*/*.json")):
        parsed(FILES[path.name], json.loads(Template(path.read_text()).substitute(VALUES)))
    seen = set()
    for method, path, body in json.loads(Path(requests).read_text()):
        what = method if method == "PATCH" else path.rpartition("/")[2]
        what = what if what in REQUESTS else what.partition(":")[2]
        parsed(REQUESTS[what], body)
        seen.add(what)
    assert seen == set(REQUESTS), seen
    settings = json.loads((Path(folder) / "settings.json").read_text())
    job = aiplatform.PipelineJob(
        display_name="test",
        template_path=str(Path(folder) / "pipeline.json"),
        pipeline_root=f"gs://{settings['bucket']}/pipelines",
        parameter_values={"project": settings["project"], "location": settings["region"], "as_of": "2026-01-01"},
        project=settings["project"],
        location=settings["region"],
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # the library says no types
    )
    made = job.to_dict()
    tasks = made["pipelineSpec"]["root"]["dag"]["tasks"]
    assert len(tasks) == 2 * len(settings["models"]), sorted(tasks)
    assert made["runtimeConfig"]["parameterValues"]["as_of"] == "2026-01-01"
    print(f"files, {len(seen)} kinds of requests and a PipelineJob of {len(tasks)} tasks are what the API takes")


if __name__ == "__main__":
    main(*sys.argv[1:])
