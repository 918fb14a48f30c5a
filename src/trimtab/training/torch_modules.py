"""PyTorch modules as models: their scores, and their conversion to ONNX.

A module takes float32 (rows, features) and returns one number for each row, shape (rows,) or (rows, 1): the value of a
regression, the probability of class 1 of a binary model (so it ends with a sigmoid), or how anomalous the row is. Of a
multiclass model it returns the probability of each class, shape (rows, classes), so it ends with a softmax.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from trimtab.bundle.outputs import one_a_row
from trimtab.definitions.models import Task
from trimtab.errors import DataError, StageError
from trimtab.tasks import RULES

OPSET = 18


def is_module(estimator: Any) -> bool:
    """Return True if an object is a PyTorch module. Does not import PyTorch."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" == "torch.nn.modules.module.Module" for kind in type(estimator).__mro__
    )


def module_scores(module: Any, X: np.ndarray[Any, Any], task: Task) -> np.ndarray[Any, Any]:
    """Return the scores of rows X, float32 (rows, features), float64.

    Raises StageError for a wrong shape, and for numbers that are no probabilities where the task needs them.
    """
    # imported here, because only projects that use PyTorch have it
    import torch

    module.eval()
    with torch.no_grad():
        out = module(torch.from_numpy(np.ascontiguousarray(X, dtype=np.float32))).cpu().numpy()
    kind = type(module).__name__
    if RULES[task].by_class:
        try:
            return one_a_row(out, len(X), task=task, what=kind)
        except DataError as error:
            raise StageError(f"{error} (is a softmax missing at its end?)") from None
    if out.shape not in ((len(X),), (len(X), 1)):
        raise StageError(f"{kind} gave shape {out.shape} for {len(X)} rows; expected one number a row")
    scores = np.asarray(out, dtype=np.float64).reshape(len(X))
    if task == "binary" and ((scores < 0) | (scores > 1)).any():
        raise StageError(
            f"{kind} gave {scores.min():.3g} to {scores.max():.3g}; a binary model must give "
            "probabilities (is a sigmoid missing at its end?)"
        )
    return scores


def torchscript(module: Any, features: int) -> bytes:
    """Return a module as TorchScript: compiled, which keeps its branches, else traced on rows of zeros."""
    # imported here, as above
    import torch

    module.eval()
    target = io.BytesIO()
    try:
        script = torch.jit.script(module)
    except Exception:  # user code may hold anything that TorchScript has no word for
        script = torch.jit.trace(module, (torch.zeros(2, features),))
    torch.jit.save(script, target)
    return target.getvalue()


def export_module(module: Any, task: Task, features: int) -> Any:
    """Return the onnx.ModelProto of a module. Raises StageError when PyTorch cannot export it."""
    # imported here, as above
    import onnx
    import torch

    class Served(torch.nn.Module):  # type: ignore[misc]  # PyTorch has no types here
        """Gives its outputs the names and shapes that serving expects."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, X: Any) -> Any:
            out = self.module(X)
            if RULES[task].by_class:
                return out
            out = out.reshape(-1, 1)
            return torch.cat([1 - out, out], dim=1) if task == "binary" else out

    output = RULES[task].graph_output or "variable"
    target = io.BytesIO()
    try:
        torch.onnx.export(
            Served().eval(),
            (torch.zeros(2, features),),
            target,
            input_names=["X"],
            output_names=[output],
            dynamic_axes={"X": {0: "rows"}, output: {0: "rows"}},
            opset_version=OPSET,
            dynamo=False,  # the newer exporter needs one more package, and writes the same graph for such modules
        )
    except Exception as error:  # user code may raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StageError(f"{type(module).__name__} cannot be exported to ONNX: {reason}") from error
    return onnx.load_from_string(target.getvalue())
