"""The base of all sections of trimtab.yaml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change and are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
