"""Training: frozen datasets, runs in MLflow, ONNX graphs, packaged bundles, the registry.

Heavy libraries (MLflow, scikit-learn and its converters) are imported on first use.
"""

from trimtab.training.dataset import Frozen, freeze, load
from trimtab.training.package import finish
from trimtab.training.registry import Registry
from trimtab.training.scores import cross_fit
from trimtab.training.tracking import Tracking
from trimtab.training.train import Reference, Scored, Workbench, train

__all__ = [
    "Frozen",
    "Reference",
    "Registry",
    "Scored",
    "Tracking",
    "Workbench",
    "cross_fit",
    "finish",
    "freeze",
    "load",
    "train",
]
