"""What comes and goes over DICOM: objects received, and answers on their way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "dicom_objects",
        sa.Column("object_id", sa.String(32), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("caller", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("film_id", sa.String(32), sa.ForeignKey("films.film_id", ondelete="CASCADE")),
        sa.Column("received_at", sa.String(32), nullable=False),
        sa.Column("done_at", sa.String(32)),
    )
    op.create_index("ix_dicom_objects_film_id", "dicom_objects", ["film_id"])
    op.create_index("ix_dicom_objects_state_received_at", "dicom_objects", ["state", "received_at"])
    op.create_table(
        "dicom_outbox",
        sa.Column("instance_uid", sa.String(64), primary_key=True),
        sa.Column("target", sa.String(160), primary_key=True),
        sa.Column(
            "object_id", sa.String(32), sa.ForeignKey("dicom_objects.object_id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due_at", sa.String(32), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("done_at", sa.String(32)),
    )
    op.create_index("ix_dicom_outbox_state_target_due_at", "dicom_outbox", ["state", "target", "due_at"])
