"""What one check of the audit found: a verdict, the number behind it, and one sentence that anybody understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hilum.audit.limits import Limit

Verdict = Literal["pass", "warn", "fail", "not done"]
# The order in which they are shown.
VERDICTS: tuple[Verdict, ...] = ("fail", "warn", "not done", "pass")


@dataclass(frozen=True)
class Check:
    """One check and what came of it.

    name: a key of `limits.LIMITS`. value, low, high: the measure that the limit names, and its 95 % interval, both
    missing where a thing was counted, not sampled. n: films looked at; patients: of known patients, missing where none
    is known. meaning: one sentence for a clinician. advice: what to do about it, "" where there is nothing to do.
    reason: why it could not be done. details: further lines, as each class's figure or examples.
    """

    name: str
    verdict: Verdict
    meaning: str
    limit: Limit
    advice: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    patients: int | None = None
    reason: str = ""
    details: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As audit.json has it."""
        return {
            "check": self.name,
            "title": self.limit.title,
            "verdict": self.verdict,
            "measure": self.limit.measure,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "patients": self.patients,
            "meaning": self.meaning,
            "advice": self.advice,
            "reason": self.reason,
            "details": list(self.details),
            "limit": {
                "warn": self.limit.warn,
                "fail": self.limit.fail,
                "worse": self.limit.worse,
                "why": self.limit.why,
                "changed": self.limit.changed,
            },
        }


def verdict_of(value: float, limit: Limit, *, beyond_chance: bool = True) -> Verdict:
    """fail or warn where the value has reached that limit, and where chance alone would not have brought it there.

    >>> from hilum.audit.limits import LIMITS
    >>> limit = LIMITS["label-from-border"]
    >>> verdict_of(0.99, limit), verdict_of(0.99, limit, beyond_chance=False), verdict_of(0.5, limit)
    ('fail', 'pass', 'pass')
    """
    if not beyond_chance:
        return "pass"
    for verdict in ("fail", "warn"):
        bound = limit.fail if verdict == "fail" else limit.warn
        if bound is not None and (value >= bound if limit.worse == "high" else value <= bound):
            return "fail" if verdict == "fail" else "warn"
    return "pass"


def not_done(name: str, reason: str, limits: Mapping[str, Limit], *, advice: str = "", n: int | None = None) -> Check:
    """A check that could not be made, and why; advice: what would make it possible.

    >>> from hilum.audit.limits import LIMITS
    >>> not_done("age-and-label", "no film tells an age", LIMITS).meaning
    'Nobody knows, because no film tells an age.'
    """
    meaning = f"Nobody knows, because {reason}."
    return Check(name, "not done", meaning, limits[name], advice=advice, n=n, reason=reason)


def worst_first(checks: Sequence[Check]) -> list[Check]:
    """Failures, then warnings, then what could not be done; in the order given within each."""
    return sorted(checks, key=lambda check: VERDICTS.index(check.verdict))
