"""Conformance suites for store backends; subclass one in a test module and say how to open the store.

    class TestMyStore(OnlineConformance):
        def open(self, folder):
            return MyStore(folder)

Importing this package needs pytest and hypothesis; nothing else in Trimtab imports it.
"""

from trimtab.testing.artifacts import ArtifactsConformance
from trimtab.testing.metadata import MetadataConformance
from trimtab.testing.online import OnlineConformance
from trimtab.testing.predictions import PredictionsConformance
from trimtab.testing.tables import TablesConformance

__all__ = [
    "ArtifactsConformance",
    "MetadataConformance",
    "OnlineConformance",
    "PredictionsConformance",
    "TablesConformance",
]
