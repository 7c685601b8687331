"""The first tables, and triggers that keep the log append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make everything."""
    _films()
    _people()
    op.create_table(
        "events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("film_id", sa.String(32)),
        sa.Column("model_id", sa.String(16)),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("mark", sa.String(64), nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER events_no_{verb.lower()} BEFORE {verb} ON events "
                "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION hilum_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the log is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
            "FOR EACH STATEMENT EXECUTE FUNCTION hilum_append_only()"
        )


def _films() -> None:
    op.create_table(
        "films",
        sa.Column("film_id", sa.String(32), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.String(160), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("kind", sa.String(8)),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("view", sa.String(20)),
        sa.Column("patient_key", sa.String(64)),
        sa.Column("doubts", sa.JSON),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("batch", sa.String(32)),
        sa.Column("accepted_by", sa.String(64), nullable=False),
        sa.Column("accepted_at", sa.String(32), nullable=False),
        sa.Column("done_at", sa.String(32)),
    )
    op.create_index("ix_films_state_accepted_at", "films", ["state", "accepted_at"])
    op.create_index("ix_films_accepted_at", "films", ["accepted_at"])
    op.create_index("ix_films_batch", "films", ["batch"])
    op.create_table(
        "results",
        sa.Column("film_id", sa.String(32), sa.ForeignKey("films.film_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("model_id", sa.String(16), primary_key=True),
        sa.Column("p", sa.JSON, nullable=False),
        sa.Column("predicted", sa.String(120), nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("members", sa.JSON),
        sa.Column("made_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_results_predicted", "results", ["model_id", "predicted"])
    op.create_table(
        "readings",
        sa.Column("reading_id", sa.Integer, primary_key=True),
        sa.Column("film_id", sa.String(32), sa.ForeignKey("films.film_id", ondelete="CASCADE"), nullable=False),
        sa.Column("reader", sa.String(64), nullable=False),
        sa.Column("finding", sa.String(120), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("read_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_readings_film_id", "readings", ["film_id"])


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(8), nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("made_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("user", sa.String(64), sa.ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
        sa.Column("ends_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("user", sa.String(64), sa.ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
        sa.Column("title", sa.String(64), nullable=False),
        sa.Column("made_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("user", "title"),
    )
    op.create_table(
        "choices", sa.Column("key", sa.String(120), primary_key=True), sa.Column("value", sa.JSON, nullable=False)
    )
