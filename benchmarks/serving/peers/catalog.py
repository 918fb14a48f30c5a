"""The peers: the start command and the request of each, as its own documentation shows them.

NAME serves the scikit-learn model; NAME+onnx serves its ONNX graph, where a user of that server could do the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.serving.targets import Answered, Ask, Target, v2_ask

HERE = Path(__file__).parent
VENVS = HERE.parents[2] / ".bench"
OURS = ("fastapi", "raw")
"""Their packages are among Trimtab's own, so they run without an environment of their own, too."""
NAMES = (
    "mlflow",
    "mlserver",
    "bentoml",
    "kserve",
    "litserve",
    "mlflow+onnx",
    "mlserver+onnx",
    "bentoml+onnx",
    "kserve+onnx",
    "litserve+onnx",
    "fastapi",
    "raw",
)
TITLES = {
    "mlflow": "MLflow models serve",
    "mlserver": "MLServer, batching",
    "bentoml": "BentoML, batchable",
    "kserve": "KServe SDK, V1",
    "litserve": "LitServe, batching",
    "fastapi": "FastAPI + ONNX",
    "raw": "raw ASGI + ONNX (ceiling)",
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def peer(name: str, model: Path, work: Path) -> Target:
    """Return the peer called `name`, which serves the model in the folder `model` and writes into `work`.

    Raises KeyError for a name that is not in NAMES.
    """
    family, _, variant = name.partition("+")
    title = TITLES[family] + (" + ONNX" if variant else "")
    runtime = variant or "native"
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    binaries = VENVS / family / "bin"
    python = str(binaries / "python")
    missing = _missing(family)
    if family in OURS and not (VENVS / family / "installed.txt").exists():
        python, missing = sys.executable, None
    ask, answer = _ways(family, runtime)
    return Target(
        name=name,
        title=title,
        command=_command(family, model, folder, binaries, python, runtime),
        prepare=_prepare(family, model, folder, python, runtime),
        work=folder,
        folder=HERE / family if family == "bentoml" else folder,
        environment=lambda port: _environment(family, model, folder, runtime, port),
        ask=ask,
        answer=answer,
        packaged=family not in OURS,
        missing=missing,
    )


def _missing(family: str) -> str | None:
    if (VENVS / family / "installed.txt").exists():
        return None
    failed = VENVS / f"{family}.failed"
    if failed.exists():
        said = failed.read_text(errors="replace").strip().splitlines()
        return "could not be installed: " + (said[-1] if said else "no reason given")
    return f"not installed; `scripts/bench_venvs.sh {family}` does"


def _prepare(family: str, model: Path, folder: Path, python: str, runtime: str) -> list[str]:
    if family == "mlflow":
        return [python, str(HERE / family / "prepare.py"), str(model), runtime, str(folder / "saved")]
    if family == "mlserver":
        return [python, str(HERE / family / "prepare.py"), str(model), runtime, str(folder)]
    return []


def _command(
    family: str, model: Path, folder: Path, binaries: Path, python: str, runtime: str
) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        address = ["--host", "127.0.0.1", "--port", str(port)]
        if family == "mlflow":
            serve = [str(binaries / "mlflow"), "models", "serve", "--model-uri", str(folder / "saved")]
            return [*serve, "--env-manager", "local", "--workers", "1", *address]
        if family == "mlserver":
            return [str(binaries / "mlserver"), "start", str(folder)]
        if family == "bentoml":
            return [str(binaries / "bentoml"), "serve", "service:Hgb", *address]
        return [python, str(HERE / family / "serve.py"), str(model), str(port), runtime]

    return command


def _environment(family: str, model: Path, folder: Path, runtime: str, port: int) -> dict[str, str]:
    if family == "mlserver":
        ports = {"HTTP": port, "GRPC": port + 1, "METRICS": port + 2}
        settings = {f"MLSERVER_{name}_PORT": str(number) for name, number in ports.items()}
        return settings | {"PYTHONPATH": str(HERE / family)}
    if family == "bentoml":
        quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "home")}
        return quiet | {"BENCH_MODEL": str(model), "BENCH_RUNTIME": runtime}
    if family == "mlflow":
        return {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    return {}


def _ways(family: str, runtime: str) -> tuple[Callable[[Sequence[float]], Ask], Callable[[bytes], Answered]]:
    if family == "mlflow":
        return _mlflow, _mlflow_graph_answer if runtime == "onnx" else lambda body: _last(_decode(body)["predictions"])
    if family == "mlserver":
        return _mlserver, lambda body: _last(_decode(body)["outputs"][0]["data"])
    if family == "bentoml":
        return lambda row: Ask(path="/predict", body=_encode({"rows": [row]})), lambda body: _last(_decode(body))
    if family == "kserve":
        return _kserve, lambda body: _last(_decode(body)["predictions"])
    if family == "litserve":
        return lambda row: Ask(path="/predict", body=_encode({"row": row})), _litserve_answer
    return v2_ask, lambda body: _last(_decode(body)["outputs"][0]["data"])


def _mlserver(row: Sequence[float]) -> Ask:
    tensor = {"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    body = {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}
    return Ask(path="/v2/models/hgb/infer", body=_encode(body))


def _mlflow(row: Sequence[float]) -> Ask:
    return Ask(path="/invocations", body=_encode({"inputs": [row]}))


def _kserve(row: Sequence[float]) -> Ask:
    return Ask(path="/v1/models/hgb:predict", body=_encode({"instances": [row]}))


def _mlflow_graph_answer(body: bytes) -> Answered:
    return _last(_decode(body)["predictions"]["probabilities"])


def _litserve_answer(body: bytes) -> Answered:
    return Answered(float(_decode(body)["probability"]))


def _last(values: object) -> Answered:
    """Return the probability of the second class from nested lists: it is the last number in them."""
    while isinstance(values, list):
        values = values[-1]
    if not isinstance(values, int | float):
        raise ValueError(f"{values!r} is no probability")
    return Answered(float(values))
