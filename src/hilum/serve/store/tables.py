"""The tables. Times are UTC as ISO 8601 text with microseconds, which sorts as time does in every database."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# state: waiting, done or failed. kept: whether its file lies in the store. doubts: what the input gate says of it.
films = Table(
    "films",
    metadata,
    Column("film_id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("name", String(160), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("error", Text),
    Column("kind", String(8)),
    Column("width", Integer),
    Column("height", Integer),
    Column("view", String(20)),
    Column("patient_key", String(64)),
    Column("doubts", JSON(none_as_null=True)),
    Column("kept", Boolean, nullable=False),
    Column("batch", String(32)),
    Column("accepted_by", String(64), nullable=False),
    Column("accepted_at", String(32), nullable=False),
    Column("done_at", String(32)),
    Index("ix_films_state_accepted_at", "state", "accepted_at"),
    Index("ix_films_accepted_at", "accepted_at"),
    Index("ix_films_batch", "batch"),
)

# A film has at most one result of each model. p: probability by class. members: the classes of the prediction set, or
# null where the run has no validation films to fit one on.
results = Table(
    "results",
    metadata,
    Column("film_id", String(32), ForeignKey("films.film_id", ondelete="CASCADE"), primary_key=True),
    Column("model_id", String(16), primary_key=True),
    Column("p", JSON, nullable=False),
    Column("predicted", String(120), nullable=False),
    Column("confidence", Float, nullable=False),
    Column("members", JSON(none_as_null=True)),
    Column("made_at", String(32), nullable=False),
    Index("ix_results_predicted", "model_id", "predicted"),
)

# A reader's last reading of a film counts; earlier ones stay.
readings = Table(
    "readings",
    metadata,
    Column("reading_id", Integer, primary_key=True),
    Column("film_id", String(32), ForeignKey("films.film_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("reader", String(64), nullable=False),
    Column("finding", String(120), nullable=False),
    Column("comment", Text, nullable=False),
    Column("read_at", String(32), nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(8), nullable=False),
    Column("password_hash", Text),
    Column("made_at", String(32), nullable=False),
)

# Of sessions and tokens the store has the SHA-256 only.
sessions = Table(
    "sessions",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("user", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("ends_at", String(32), nullable=False),
)
tokens = Table(
    "tokens",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("user", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("title", String(64), nullable=False),
    Column("made_at", String(32), nullable=False),
    UniqueConstraint("user", "title"),
)

# What came over DICOM. object_id: a keyed hash of the SOP instance's UID, so that an object sent again is the same one.
# state: received, asked (its film is worked on), answered, not-applicable or failed, the last two with their reason.
dicom_objects = Table(
    "dicom_objects",
    metadata,
    Column("object_id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("caller", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("film_id", String(32), ForeignKey("films.film_id", ondelete="CASCADE"), index=True),
    Column("received_at", String(32), nullable=False),
    Column("done_at", String(32)),
    Index("ix_dicom_objects_state_received_at", "state", "received_at"),
)

# An answer on its way to one node. state: due, sent or refused. instance_uid: of the answer, made of its source's.
dicom_outbox = Table(
    "dicom_outbox",
    metadata,
    Column("instance_uid", String(64), primary_key=True),
    Column("target", String(160), primary_key=True),
    Column("object_id", String(32), ForeignKey("dicom_objects.object_id", ondelete="CASCADE"), nullable=False),
    Column("state", String(8), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", String(32), nullable=False),
    Column("error", Text),
    Column("done_at", String(32)),
    Index("ix_dicom_outbox_state_target_due_at", "state", "target", "due_at"),
)

# What DICOMweb finds, where it is offered: an object that came, or, with `answer`, what it was answered with. Times and
# states are those of its object, and whether its bytes are kept is that of its film.
dicom_instances = Table(
    "dicom_instances",
    metadata,
    Column("instance_uid", String(64), primary_key=True),
    Column("object_id", String(32), ForeignKey("dicom_objects.object_id", ondelete="CASCADE"), nullable=False),
    Column("answer", Boolean, nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("class_uid", String(64), nullable=False),
    Column("syntax_uid", String(64), nullable=False),
    Column("modality", String(16)),
    Column("study_date", String(8)),
    Column("patient_key", String(64)),
    Column("height", Integer),
    Column("width", Integer),
    Column("found_at", String(32), nullable=False),
    Index("ix_dicom_instances_object_id", "object_id"),
    Index("ix_dicom_instances_study_uid", "study_uid", "series_uid"),
    Index("ix_dicom_instances_found_at", "found_at"),
)

# What an administrator chose on the pages, by key.
choices = Table(
    "choices",
    metadata,
    Column("key", String(120), primary_key=True),
    Column("value", JSON, nullable=False),
)

# Append-only: triggers refuse every change. `mark` is of the record and of the mark before it; see store.log.
events = Table(
    "events",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("who", String(64), nullable=False),
    Column("what", String(32), nullable=False),
    Column("film_id", String(32)),
    Column("model_id", String(16)),
    Column("about", Text, nullable=False),
    Column("mark", String(64), nullable=False),
)


def now() -> str:
    """The time as the tables have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
