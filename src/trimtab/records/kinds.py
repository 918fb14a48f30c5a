"""Every kind of record by its name."""

from __future__ import annotations

from trimtab.records.alert_records import Alert, AlertMessage, AlertPosition
from trimtab.records.control import (
    Decision,
    Freeze,
    LedgerAcceptance,
    LedgerEntry,
    PolicyVersion,
    Resolution,
    RetrainRequest,
    Suspicion,
    SuspicionEnd,
    TriggerEvent,
    TriggerOutcome,
    WorkflowStep,
)
from trimtab.records.data import CheckReport, QuarantineEnd, TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.gate_reports import GateReport
from trimtab.records.llm import EndpointVersion, EvalSetVersion, JudgeCalibration, SpendClosed, TextErasure
from trimtab.records.monitoring import Comparison, KpiPoint, LabelIntake, Profile, Signal, WindowReport
from trimtab.records.promotions import PromotionAnswer, PromotionRequest
from trimtab.records.record import Record
from trimtab.records.serving import LogGap, Revision, Token, TokenRevocation
from trimtab.records.training import Bundle, DatasetVersion, Run

RECORDS: dict[str, type[Record]] = {
    kind.KIND: kind
    for kind in (
        TableVersion,
        CheckReport,
        QuarantineEnd,
        FeatureViewVersion,
        DatasetVersion,
        EndpointVersion,
        EvalSetVersion,
        JudgeCalibration,
        Run,
        GateReport,
        Bundle,
        PromotionRequest,
        PromotionAnswer,
        Revision,
        Token,
        TokenRevocation,
        LogGap,
        LabelIntake,
        WindowReport,
        Profile,
        Signal,
        Comparison,
        KpiPoint,
        SpendClosed,
        TextErasure,
        Suspicion,
        SuspicionEnd,
        TriggerEvent,
        TriggerOutcome,
        RetrainRequest,
        Freeze,
        Decision,
        Resolution,
        WorkflowStep,
        PolicyVersion,
        LedgerEntry,
        LedgerAcceptance,
        Alert,
        AlertMessage,
        AlertPosition,
    )
}
"""In the order in which they pass along the loop."""
