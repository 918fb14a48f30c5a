"""Trimtab: MLOps that steers itself. Each public name is imported at its first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trimtab.errors import nearest

if TYPE_CHECKING:
    from trimtab.app.drift.drift_monitor import DriftMonitor
    from trimtab.definitions.aggregations import (
        count,
        distinct,
        first,
        last,
        mean,
        quantile,
        std,
    )
    from trimtab.definitions.aggregations import max_ as max
    from trimtab.definitions.aggregations import min_ as min
    from trimtab.definitions.aggregations import sum_ as sum
    from trimtab.definitions.derived_features import (
        decayed_count,
        decayed_mean,
        decayed_sum,
        difference,
        ratio,
        since_last,
    )
    from trimtab.definitions.kafka_source import KafkaSource
    from trimtab.definitions.kpis import Kpi
    from trimtab.definitions.llm.answer_checks import (
        close_to,
        contains,
        cost,
        exact,
        json_schema,
        latency,
        no_pii,
        regex,
        similar,
        tool_calls,
        word_list,
    )
    from trimtab.definitions.llm.evaluators import Eval, EvalSet, Evaluator, Item, Judge, Score, Turn, evaluator
    from trimtab.definitions.llm.lora import LoRA
    from trimtab.definitions.llm.model_endpoints import Endpoint, Price
    from trimtab.definitions.llm.prompts import Prompt
    from trimtab.definitions.llm.retrievers import Retriever
    from trimtab.definitions.models import Dataset, Model, Outcomes
    from trimtab.definitions.on_demand import on_demand
    from trimtab.definitions.own_gates import GateData, Judgement, gate
    from trimtab.definitions.push_source import PushSource
    from trimtab.definitions.rest_source import RESTSource
    from trimtab.definitions.secrets import secret
    from trimtab.definitions.services import FeatureService
    from trimtab.definitions.sources import FileSource
    from trimtab.definitions.sql_source import SQLSource
    from trimtab.definitions.views import Entity, FeatureView
    from trimtab.errors import TrimtabError
    from trimtab.features.point_in_time import point_in_time_join

__version__ = "0.1.0"

_HOMES = {
    "Dataset": ("trimtab.definitions.models", "Dataset"),
    "DriftMonitor": ("trimtab.app.drift.drift_monitor", "DriftMonitor"),
    "Endpoint": ("trimtab.definitions.llm.model_endpoints", "Endpoint"),
    "Entity": ("trimtab.definitions.views", "Entity"),
    "Eval": ("trimtab.definitions.llm.evaluators", "Eval"),
    "EvalSet": ("trimtab.definitions.llm.evaluators", "EvalSet"),
    "Evaluator": ("trimtab.definitions.llm.evaluators", "Evaluator"),
    "FeatureService": ("trimtab.definitions.services", "FeatureService"),
    "FeatureView": ("trimtab.definitions.views", "FeatureView"),
    "FileSource": ("trimtab.definitions.sources", "FileSource"),
    "GateData": ("trimtab.definitions.own_gates", "GateData"),
    "Item": ("trimtab.definitions.llm.evaluators", "Item"),
    "Judge": ("trimtab.definitions.llm.evaluators", "Judge"),
    "Judgement": ("trimtab.definitions.own_gates", "Judgement"),
    "KafkaSource": ("trimtab.definitions.kafka_source", "KafkaSource"),
    "Kpi": ("trimtab.definitions.kpis", "Kpi"),
    "LoRA": ("trimtab.definitions.llm.lora", "LoRA"),
    "Model": ("trimtab.definitions.models", "Model"),
    "Outcomes": ("trimtab.definitions.models", "Outcomes"),
    "Price": ("trimtab.definitions.llm.model_endpoints", "Price"),
    "Prompt": ("trimtab.definitions.llm.prompts", "Prompt"),
    "PushSource": ("trimtab.definitions.push_source", "PushSource"),
    "RESTSource": ("trimtab.definitions.rest_source", "RESTSource"),
    "Retriever": ("trimtab.definitions.llm.retrievers", "Retriever"),
    "SQLSource": ("trimtab.definitions.sql_source", "SQLSource"),
    "Score": ("trimtab.definitions.llm.evaluators", "Score"),
    "TrimtabError": ("trimtab.errors", "TrimtabError"),
    "Turn": ("trimtab.definitions.llm.evaluators", "Turn"),
    "close_to": ("trimtab.definitions.llm.answer_checks", "close_to"),
    "contains": ("trimtab.definitions.llm.answer_checks", "contains"),
    "cost": ("trimtab.definitions.llm.answer_checks", "cost"),
    "count": ("trimtab.definitions.aggregations", "count"),
    "decayed_count": ("trimtab.definitions.derived_features", "decayed_count"),
    "decayed_mean": ("trimtab.definitions.derived_features", "decayed_mean"),
    "decayed_sum": ("trimtab.definitions.derived_features", "decayed_sum"),
    "difference": ("trimtab.definitions.derived_features", "difference"),
    "distinct": ("trimtab.definitions.aggregations", "distinct"),
    "evaluator": ("trimtab.definitions.llm.evaluators", "evaluator"),
    "exact": ("trimtab.definitions.llm.answer_checks", "exact"),
    "first": ("trimtab.definitions.aggregations", "first"),
    "gate": ("trimtab.definitions.own_gates", "gate"),
    "json_schema": ("trimtab.definitions.llm.answer_checks", "json_schema"),
    "last": ("trimtab.definitions.aggregations", "last"),
    "latency": ("trimtab.definitions.llm.answer_checks", "latency"),
    "max": ("trimtab.definitions.aggregations", "max_"),
    "mean": ("trimtab.definitions.aggregations", "mean"),
    "min": ("trimtab.definitions.aggregations", "min_"),
    "no_pii": ("trimtab.definitions.llm.answer_checks", "no_pii"),
    "on_demand": ("trimtab.definitions.on_demand", "on_demand"),
    "point_in_time_join": ("trimtab.features.point_in_time", "point_in_time_join"),
    "quantile": ("trimtab.definitions.aggregations", "quantile"),
    "ratio": ("trimtab.definitions.derived_features", "ratio"),
    "regex": ("trimtab.definitions.llm.answer_checks", "regex"),
    "secret": ("trimtab.definitions.secrets", "secret"),
    "similar": ("trimtab.definitions.llm.answer_checks", "similar"),
    "since_last": ("trimtab.definitions.derived_features", "since_last"),
    "std": ("trimtab.definitions.aggregations", "std"),
    "sum": ("trimtab.definitions.aggregations", "sum_"),
    "tool_calls": ("trimtab.definitions.llm.answer_checks", "tool_calls"),
    "word_list": ("trimtab.definitions.llm.answer_checks", "word_list"),
}

__all__ = [
    "Dataset",
    "DriftMonitor",
    "Endpoint",
    "Entity",
    "Eval",
    "EvalSet",
    "Evaluator",
    "FeatureService",
    "FeatureView",
    "FileSource",
    "GateData",
    "Item",
    "Judge",
    "Judgement",
    "KafkaSource",
    "Kpi",
    "LoRA",
    "Model",
    "Outcomes",
    "Price",
    "Prompt",
    "PushSource",
    "RESTSource",
    "Retriever",
    "SQLSource",
    "Score",
    "TrimtabError",
    "Turn",
    "close_to",
    "contains",
    "cost",
    "count",
    "decayed_count",
    "decayed_mean",
    "decayed_sum",
    "difference",
    "distinct",
    "evaluator",
    "exact",
    "first",
    "gate",
    "json_schema",
    "last",
    "latency",
    "max",
    "mean",
    "min",
    "no_pii",
    "on_demand",
    "point_in_time_join",
    "quantile",
    "ratio",
    "regex",
    "secret",
    "similar",
    "since_last",
    "std",
    "sum",
    "tool_calls",
    "word_list",
]


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'trimtab' has no attribute '{name}'.{nearest(name, __all__)}") from None
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
