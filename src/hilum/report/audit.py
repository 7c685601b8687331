"""The audit as a page of its own, and as the head of a run's report: failures first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hilum.audit.remedy import Change
from hilum.audit.remedy import in_short as in_short_of_changes
from hilum.audit.verdict import VERDICTS
from hilum.data.words import count_of, enumerated
from hilum.files import write_text
from hilum.report.html import templates

Check = Mapping[str, Any]  # as audit.json has it; what is missing there is not shown
# Measures that are whole numbers, and of what one is.
_COUNTED = {"patients": "patient", "films": "film", "classes": "class"}
_GAUGE_PX = 220  # how wide the bar of a value is drawn


def write_audit(checks: Sequence[Check], path: Path, *, asked: Sequence[str]) -> None:
    """Write the page of an audit of films, whole or not at all; asked: what was audited, as it was typed."""
    body = Markup(templates().get_template("audit.html").render(colours={}, **context(checks, unfolded=True)))
    page = templates().get_template("audit_page.html")
    section = {"name": "audit", "heading": "The checks, the worst first"}
    write_text(path, page.render(made=[(section, body)], asked=asked, banner=banner(checks), n=len(checks)))


def context(checks: Sequence[Check], *, unfolded: bool = False) -> dict[str, Any]:
    """What audit.html is given. What passed is folded there with its names in sight, unless `unfolded`."""
    known = [_completed(check) for check in checks]
    known.sort(key=lambda check: _place(check["verdict"]))
    return {
        "checks": known,
        "unfolded": unfolded,
        "short": in_short(checks),
        "changed": [check["title"] for check in known if check["limit"].get("changed")],
    }


def banner(checks: Sequence[Check]) -> dict[str, Any] | None:
    """What stands above everything else where a check failed: how many, which, and the worst one's sentence.

    >>> banner([{"check": "a", "verdict": "fail", "meaning": "Bad."}, {"check": "b", "verdict": "pass"}])
    {'line': '1 of 2 checks failed', 'names': 'a', 'meaning': 'Bad.'}
    """
    failed = [check for check in checks if check.get("verdict") == "fail"]
    if not failed:
        return None
    names = [str(check.get("title") or check.get("check")) for check in failed]
    return {
        "line": f"{len(failed)} of {count_of(len(checks), 'check')} failed",
        "names": enumerated(names, most=6),
        "meaning": str(failed[0].get("meaning") or ""),
    }


def in_short(checks: Sequence[Check]) -> str:
    """How many of each verdict, in words.

    >>> in_short([{"verdict": "fail"}, {"verdict": "pass"}, {"verdict": "pass"}])
    '1 fail, 2 pass'
    """
    counts = {verdict: sum(check.get("verdict") == verdict for check in checks) for verdict in VERDICTS}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def shown_value(check: Check) -> str:
    """The value with its interval, n and measure; a dash where there is none.

    >>> shown_value({"value": 0.94, "low": 0.9, "high": 0.97, "n": 80, "patients": 60, "measure": "AUROC"})
    'AUROC 0.940 [0.900, 0.970], n = 80 films of 60 known patients'
    >>> shown_value({"value": 3.0, "measure": "patients", "n": 80}), shown_value({"value": 1, "measure": "classes"})
    ('3 patients, n = 80 films', '1 class')
    """
    value, low, high = (check.get(key) for key in ("value", "low", "high"))
    measure = str(check.get("measure") or "")
    n = check.get("n")
    patients = f" of {count_of(check['patients'], 'known patient')}" if check.get("patients") else ""
    films = f"n = {count_of(n, 'film')}{patients}" if n is not None else ""
    if not isinstance(value, int | float):
        return films or "–"
    if measure in _COUNTED or isinstance(value, int):
        shown = f"{value:.0f} {_COUNTED.get(measure, measure) if value == 1 else measure}".strip()
    else:
        interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
        shown = f"{measure} {value:.3f}{interval}".strip()
    return f"{shown}, {films}" if films else shown


def _completed(check: Check) -> dict[str, Any]:
    limit = check.get("limit") or {}
    return {
        "title": check.get("title") or check.get("check"),
        "verdict": check.get("verdict"),
        "shown": shown_value(check),
        "gauge": gauge(check),
        "meaning": check.get("meaning"),
        "advice": check.get("advice"),
        "details": check.get("details") or [],
        "limit": limit,
        "limits": _limits(limit),
    }


def gauge(check: Check) -> dict[str, Any] | None:
    """Where value, interval and limits stand on a bar of 220 px, from the least that the measure can be to the most.

    An AUROC starts at 0.5, which is chance; shares, kappa and the like at 0. None for what is counted or missing.
    zones: from, width and verdict of what lies between the limits.

    >>> drawn = gauge({"value": 0.75, "measure": "AUROC", "limit": {"warn": 0.6, "fail": 0.75, "worse": "high"}})
    >>> drawn["value"], drawn["zones"]
    (110.0, [(0.0, 44.0, 'pass'), (44.0, 66.0, 'warn'), (110.0, 110.0, 'fail')])
    """
    value, limit = check.get("value"), check.get("limit") or {}
    measure = str(check.get("measure") or "")
    least = 0.5 if measure == "AUROC" else 0.0
    if not isinstance(value, float) or measure in _COUNTED or value > 1 or limit.get("fail") is None:
        return None

    def place(number: float) -> float:
        return round(_GAUGE_PX * min(1.0, max(0.0, (number - least) / (1 - least))), 1)

    fail = place(limit["fail"])
    warn = fail if limit.get("warn") is None else place(limit["warn"])
    bounds, names = [0.0, warn, fail, float(_GAUGE_PX)], ["pass", "warn", "fail"]
    if limit.get("worse") == "low":
        bounds, names = [0.0, fail, warn, float(_GAUGE_PX)], names[::-1]
    zones = [(start, round(end - start, 1), name) for start, end, name in zip(bounds, bounds[1:], names, strict=False)]
    ends = [place(check[end]) if check.get(end) is not None else None for end in ("low", "high")]
    return {"width": _GAUGE_PX, "value": place(value), "low": ends[0], "high": ends[1], "zones": zones}


def _limits(limit: Mapping[str, Any]) -> str:
    """
    >>> _limits({"warn": 0.6, "fail": 0.75, "worse": "high"}), _limits({"warn": None, "fail": 1, "worse": "low"})
    ('warns from 0.6, fails from 0.75', 'fails from 1 down')
    """
    down = " down" if limit.get("worse") == "low" else ""
    each = [f"{word}s from {limit[word]:g}{down}" for word in ("warn", "fail") if limit.get(word) is not None]
    return ", ".join(each)


def _place(verdict: object) -> int:
    return VERDICTS.index(verdict) if verdict in VERDICTS else 1


def write_changes(found: Sequence[Change], path: Path, *, names: Sequence[str]) -> None:
    """Write the page of two audits side by side, whole or not at all; names: of the two runs, the earlier first."""
    rows = [
        {
            "title": change.title,
            "measure": change.measure,
            "both": [_verdict_and_value(check) for check in (change.first, change.second)],
            "difference": signed(change.difference),
            "interval": "" if change.low is None else f"[{signed(change.low)}, {signed(change.high)}]",
            "outcome": change.outcome,
        }
        for change in found
    ]
    given = {"names": list(names), "short": in_short_of_changes(found)}
    body = Markup(templates().get_template("audit_changes.html").render(colours={}, rows=rows, **given))
    section = {"name": "changes", "heading": "Check by check"}
    write_text(path, templates().get_template("audit_changes_page.html").render(made=[(section, body)], **given))


def signed(value: float | None) -> str:
    """
    >>> signed(0.1234), signed(-2.0), signed(None)
    ('+0.123', '-2.000', '–')
    """
    return "–" if value is None else f"{value:+.3f}"


def _verdict_and_value(check: Check | None) -> tuple[str, str]:
    if check is None:
        return "not made", ""
    value, low, high = (check.get(key) for key in ("value", "low", "high"))
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return str(check["verdict"]), f"{value:.3f}{interval}" if isinstance(value, int | float) else ""
