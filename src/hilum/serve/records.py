"""What the API answers, with units; the same records stand behind the pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hilum.serve.models import Model

RESEARCH: Final = "Research use only. Not a medical device."


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(Record):
    """Why a request was not answered with what it asked for."""

    kind: str = Field(description="For programs: not-found, too-large, unreadable-film, busy, login-needed and so on.")
    what: str = Field(description="What is wrong, in words.")
    next_step: str = Field(default="", description="What can be done now, or empty.")


class ProblemBody(Record):
    """The body of every answer with a status of 400 or more."""

    error: Problem


class ResultRecord(Record):
    """What one model says of a film."""

    model_id: str = Field(description="Of the model's weights.")
    model: str = Field(description="The model's name, or its id where it is not loaded now.")
    probabilities: dict[str, float] = Field(description="Calibrated probability by class, 0 to 1; they add up to 1.")
    predicted: str = Field(description="The most probable class.")
    confidence: float = Field(description="Its probability, 0 to 1.")
    prediction_set: list[str] | None = Field(
        description="The classes that the film may have, with the model's coverage; null where the run has no "
        "validation films to fit it on."
    )
    refer: bool = Field(description="Whether the set has not exactly one class: the model is not confident.")
    called: list[str] | None = Field(
        description="Classes whose probability reaches their threshold at the chosen operating point; null without one."
    )
    made_at: str = Field(description="UTC, ISO 8601.")


class ReadingRecord(Record):
    """What a reader saw."""

    reader: str
    finding: str
    comment: str
    read_at: str = Field(description="UTC, ISO 8601.")


class FilmRecord(Record):
    """A film, what came of it, and who read it."""

    film_id: str
    sha256: str = Field(description="Of the file's bytes: the same bytes are the same film.")
    name: str = Field(description="As the client called it.")
    bytes: int = Field(description="Size of the file in bytes.")
    state: Literal["waiting", "done", "failed"]
    error: str | None = Field(description="Why it failed; null else.")
    kind: str | None = Field(description="png, jpeg, dicom, bmp, tiff or webp.")
    width: int | None = Field(description="Pixels.")
    height: int | None = Field(description="Pixels.")
    view: str | None = Field(description="As a DICOM object says it: PA, AP, lateral and so on.")
    patient_key: str | None = Field(
        description="A keyed hash of DICOM's patient number, unless started with --identify."
    )
    doubts: list[str] = Field(description="What speaks against a whole frontal film of a chest.")
    kept: bool = Field(description="Whether the server has the file.")
    batch: str | None
    accepted_by: str
    accepted_at: str = Field(description="UTC, ISO 8601.")
    done_at: str | None = Field(description="UTC, ISO 8601.")
    results: list[ResultRecord]
    readings: list[ReadingRecord]
    notice: Literal["Research use only. Not a medical device."] = RESEARCH


class FilmList(Record):
    """Some films of a list."""

    total: int = Field(description="Films that fit the question.")
    films: list[FilmRecord]
    notice: Literal["Research use only. Not a medical device."] = RESEARCH


class AcceptedRecord(Record):
    """A file that was taken in."""

    name: str
    film_id: str
    known: bool = Field(description="Whether the film was there already: its result is then not made again.")


class RefusedRecord(Record):
    """A file that was not taken in."""

    name: str
    error: Problem


class Batch(Record):
    """What came of an upload of many. Accepted films are on disk: they get their results even if the server stops."""

    batch: str
    accepted: list[AcceptedRecord]
    refused: list[RefusedRecord]


class BatchState(Record):
    """How far an upload is, in films."""

    waiting: int
    done: int
    failed: int


class NeighbourRecord(Record):
    """A training film that lies near a film in a model's own features."""

    row: int = Field(description="Of the run's training films; its picture is /models/{model}/training/{row}.")
    label: str = Field(description="The class under which it was learned.")
    source: str
    view: str | None
    distance: float = Field(description="1 - cosine of the angle between the features: 0 alike, 1 nothing in common.")


class Neighbours(Record):
    """The nearest training films, the nearest first."""

    model_id: str
    among: int = Field(description="Training films searched.")
    neighbours: list[NeighbourRecord]
    notice: Literal["Research use only. Not a medical device."] = RESEARCH


class PointRecord(Record):
    """An operating point, fitted on validation films."""

    wished_sensitivity: float
    thresholds: dict[str, float | None] = Field(description="Probability from which on a class is called.")


class ModelRecord(Record):
    """A loaded model."""

    model_id: str
    name: str
    classes: list[str]
    coverage: float | None = Field(description="How often prediction sets hold the true class, by their making.")
    audit: Literal["fail", "warn", "pass", "none"] = Field(description="The worst verdict of the run's audit.")
    audit_line: str = Field(description="The verdict and what stands behind it, in words.")
    notes: list[str] = Field(description="What every output must say of the model.")
    operating_points: list[PointRecord]
    chosen_point: float | None = Field(description="The wished sensitivity of the one in use, or null.")


class Health(Record):
    """Whether the server works."""

    status: Literal["ok", "store-down"]
    version: str
    models: int = Field(description="Models loaded.")
    waiting: int = Field(description="Films whose clients wait, and films taken out of the store to be worked on.")
    later: int | None = Field(description="Films accepted and not done; null where the store does not answer.")


# PostgreSQL keeps no null character.
Words = Annotated[str, AfterValidator(lambda text: text.replace("\x00", ""))]


class ReadingIn(Record):
    """What a reader sees."""

    finding: Words = Field(min_length=1, max_length=120)
    comment: Words = Field(default="", max_length=4000)


class PointIn(Record):
    """An operating point to use: one of the model's wished sensitivities, or null for none."""

    wished_sensitivity: float | None


def film_record(
    film: Mapping[str, Any], models: Sequence[Model], points: Mapping[str, float | None] | None = None
) -> FilmRecord:
    """The record of a film of the store, with results in the order of the models. points: in use, by model."""
    order = {model.model_id: place for place, model in enumerate(models)}
    rows = sorted(film["results"], key=lambda row: order.get(row["model_id"], len(order)))
    loaded = {model.model_id: model for model in models}
    return FilmRecord(
        **{
            name: film[name]
            for name in FilmRecord.model_fields
            if name not in ("results", "readings", "notice", "doubts")
        },
        doubts=film["doubts"] or [],
        results=[_result(row, loaded.get(row["model_id"]), points or {}) for row in rows],
        readings=[
            ReadingRecord(**{name: row[name] for name in ReadingRecord.model_fields}) for row in film["readings"]
        ],
    )


def _result(row: Mapping[str, Any], model: Model | None, points: Mapping[str, float | None]) -> ResultRecord:
    wished = points.get(row["model_id"])
    called = None
    if model is not None and wished is not None:
        called = [
            name
            for name, point in model.points[wished].items()
            if point["threshold"] is not None and row["p"].get(name, 0.0) >= point["threshold"]
        ]
    return ResultRecord(
        model_id=row["model_id"],
        model=model.name if model else row["model_id"],
        probabilities=row["p"],
        predicted=row["predicted"],
        confidence=row["confidence"],
        prediction_set=row["members"],
        refer=row["members"] is not None and len(row["members"]) != 1,
        called=called,
        made_at=row["made_at"],
    )


def model_record(model: Model, chosen: float | None) -> ModelRecord:
    """The record of a loaded model."""
    return ModelRecord(
        model_id=model.model_id,
        name=model.name,
        classes=list(model.classes),
        coverage=model.sets.coverage if model.sets else None,
        audit=model.verdict,
        audit_line=model.verdict_line,
        notes=list(model.predictor.notes),
        operating_points=[
            PointRecord(
                wished_sensitivity=wished, thresholds={name: point["threshold"] for name, point in points.items()}
            )
            for wished, points in model.points.items()
        ],
        chosen_point=chosen,
    )
