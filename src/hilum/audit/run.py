"""The audit: all checks that can be made without a network, and audit.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.audit.copies import copies
from hilum.audit.films import films_of
from hilum.audit.metadata import metadata
from hilum.audit.pixels import pixels
from hilum.audit.predictions import audit_predictions
from hilum.audit.verdict import VERDICTS, Check, worst_first
from hilum.errors import DataError
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Audit, Prepare


def audit_data(
    manifest: pd.DataFrame,
    how: Audit | None = None,
    prepared: Prepare | None = None,
    *,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> list[Check]:
    """The checks of the films themselves, the worst first; no model and no torch.

    manifest: with facts of the files (`collect.with_facts`); without them the checks that need those are not done. The
    class of a film is its `class`, else its main label; its part is `part`, else the published one.
    prepared: look at the films as a network sees them that is prepared for like this, so that a remedy shows.
    Refused with RequestError: [audit] limits that make no sense. Refused with DataError: no film of known class.
    """
    films = films_of(manifest, how or Audit())
    return worst_first([*copies(films), *metadata(films), *pixels(films, prepared, workers=workers, progress=progress)])


def audit_run(run: RunFolder, how: Audit, *, workers: int | None = None, progress: Progress = SILENT) -> list[Check]:
    """The checks of a run's films and of what it predicts of its test part; without its network and without torch."""
    manifest = run.manifest()
    checks = audit_data(manifest, how, run.recipe().prepare, workers=workers, progress=progress)
    if (run.path / "predictions.csv").is_file():
        checks += audit_predictions(run.predictions(), manifest, how)
    return worst_first(checks)


def save_checks(path: Path, checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Write audit.json, whole or not at all, the worst first; checks that stand there and are not made anew stay.

    So the checks of data, of predictions and of a model may be made one after the other. The value is what was written.
    Refused with DataError: a file of that name that is no audit.
    """
    new = [check.as_json() for check in checks]
    names = {check["check"] for check in new}
    kept = [check for check in read_checks(path) if check["check"] not in names] if path.is_file() else []
    every = sorted([*new, *kept], key=lambda check: VERDICTS.index(check["verdict"]))
    write_json(path, every)
    return every


def read_checks(path: Path) -> list[dict[str, Any]]:
    """The checks of an audit.json. Refused with DataError: a file that is none."""
    try:
        checks = json.loads(path.read_text(encoding="utf-8"))
        known = isinstance(checks, list) and all(check["verdict"] in VERDICTS and check["check"] for check in checks)
    except (OSError, ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise DataError("this is no audit", where=str(path), next_step="Delete it, and audit again.")
    return list(checks)
