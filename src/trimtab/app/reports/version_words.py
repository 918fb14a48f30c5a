"""How a comparison of two versions is put into words, on the page and in the terminal."""

from __future__ import annotations

from trimtab.app.reports.comparison_result import Difference, Rule

GAIN = "gain, mean of windows"
"""Name of the column of gains."""
GAIN_NOTE = (
    "The gain is the mean over windows, the values before it are of all rows together. A gain above 0 is better; "
    "measures with * only differ."
)
VERDICTS = {
    "promote": "promote it",
    "futile": "stop the comparison: it is not worth it",
    "continue": "go on comparing",
    "expired": "stop the comparison: its time is up without proof",
}
WATCHED = {
    "promote": "roll back: the former champion is better",
    "futile": "keep the champion: the former one is no better",
    "continue": "keep the champion, and go on watching the former one",
    "expired": "keep the champion: the time of the watch is over",
}


def advice(rule: Rule) -> str:
    """Return what the rule says is to be done."""
    return (WATCHED if rule.watch else VERDICTS)[rule.verdict]


def rule_words(rule: Rule) -> str:
    """Return which version the rule judges against which, what it says is to be done, and why."""
    return f"the rule of the policy judges version {rule.challenger} against version {rule.champion}: {advice(rule)}"


def measure_name(found: Difference, currency: str) -> str:
    """Return the name of a measure; * marks one whose gain does not say which version is better."""
    if found.unit == "money":
        return f"{currency} lost a day by mistakes"
    return found.name.replace("_", " ") + ("" if found.directed else " *")


def tone(found: Difference | None) -> str:
    """Return good or bad where the interval lies on one side of 0, else nothing."""
    if found is None or found.low is None or found.high is None or not found.directed:
        return ""
    return "good" if found.low > 0 else "bad" if found.high < 0 else ""


def number(value: float | None, unit: str, *, signed: bool = False) -> str:
    """Return a value as a reader expects it: money without cents, a share as a percentage."""
    if value is None:
        return "-"
    sign = "+" if signed else ""
    if unit == "money":
        text = f"{value:{sign},.0f}"
    else:
        text = f"{value * 100:{sign}.2f} %" if unit == "share" else f"{value:{sign}.3g}"
    return text.replace("-", "\u2212")


def interval(found: Difference) -> str:
    """Return the interval of a difference in words."""
    if found.low is None or found.high is None:
        return "too few windows"
    return f"{number(found.low, found.unit, signed=True)} to {number(found.high, found.unit, signed=True)}"
