"""Conformance suites for store backends. Subclass one in a test module and define `open`.

    class TestMyStore(OnlineConformance):
        def open(self, folder):
            return MyStore(folder)

Importing this package needs pytest and hypothesis. No other package of Trimtab imports it.
"""

from trimtab.testing.artifacts import ArtifactsConformance
from trimtab.testing.metadata import MetadataConformance
from trimtab.testing.online import OnlineConformance
from trimtab.testing.predictions import PredictionsConformance
from trimtab.testing.spend import SpendConformance
from trimtab.testing.tables import TablesConformance

__all__ = [
    "ArtifactsConformance",
    "MetadataConformance",
    "OnlineConformance",
    "PredictionsConformance",
    "SpendConformance",
    "TablesConformance",
]
