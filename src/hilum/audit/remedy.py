"""Whether a remedy helped: the checks of two audits side by side, with the difference and its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hilum.audit.limits import LIMITS
from hilum.evaluation.paired import unpaired_interval

Outcome = Literal["better", "worse", "no clear change", "cannot be compared"]
_ORDER: tuple[Outcome, ...] = ("better", "worse", "no clear change", "cannot be compared")


@dataclass(frozen=True)
class Change:
    """One check in two audits.

    first, second: the check as audit.json has it, missing where an audit has none. difference: second - first of the
    check's value; low, high: its 95 % interval, missing where a thing was counted. outcome: what that says.
    """

    check: str
    title: str
    measure: str
    first: Mapping[str, Any] | None
    second: Mapping[str, Any] | None
    difference: float | None
    low: float | None
    high: float | None
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def changes(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Each check of either audit, what changed clearly before what did not.

    The interval is that of two audits of other patients (`paired.unpaired_interval`); where the films are the same it
    is too wide, never too narrow. A change is clear where it leaves out 0, or where two counts differ.

    >>> limit = {"worse": "high"}
    >>> before = {"check": "label-from-border", "verdict": "fail", "value": 0.9, "low": 0.88, "high": 0.92}
    >>> after = {"check": "label-from-border", "verdict": "pass", "value": 0.55, "low": 0.51, "high": 0.59}
    >>> [change] = changes([before | {"limit": limit}], [after | {"limit": limit}])
    >>> change.outcome, round(change.difference, 2), round(change.low, 2), round(change.high, 2)
    ('better', -0.35, -0.39, -0.31)
    """
    by_name = [{str(check["check"]): check for check in checks} for checks in (first, second)]
    names = [name for name in LIMITS if name in by_name[0] or name in by_name[1]]
    found = [_change(name, by_name[0].get(name), by_name[1].get(name)) for name in names]
    return sorted(found, key=lambda change: _ORDER.index(change.outcome))


def in_short(found: Sequence[Change]) -> str:
    """How many checks went which way, in words."""
    counts = {outcome: sum(change.outcome == outcome for change in found) for outcome in _ORDER}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)


def _change(name: str, first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> Change:
    limit = LIMITS[name]
    values = [None if check is None else check.get("value") for check in (first, second)]
    if first is None or second is None or values[0] is None or values[1] is None:
        return Change(name, limit.title, limit.measure, first, second, None, None, None, "cannot be compared")
    difference = float(values[1]) - float(values[0])
    if any(check.get(bound) is None for check in (first, second) for bound in ("low", "high")):
        low = high = None
        clear = difference != 0
    else:
        low, high = unpaired_interval(first, second)
        clear = not math.isnan(low) and (low > 0 or high < 0)
    rises = difference > 0
    outcome: Outcome = "no clear change"
    if clear:
        outcome = "worse" if rises == (limit.worse == "high") else "better"
    return Change(name, limit.title, limit.measure, first, second, difference, low, high, outcome)
