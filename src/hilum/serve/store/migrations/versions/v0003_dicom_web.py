"""What DICOMweb finds: objects received and their answers, by UID."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table. What came before is not in it."""
    op.create_table(
        "dicom_instances",
        sa.Column("instance_uid", sa.String(64), primary_key=True),
        sa.Column(
            "object_id", sa.String(32), sa.ForeignKey("dicom_objects.object_id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("answer", sa.Boolean, nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("class_uid", sa.String(64), nullable=False),
        sa.Column("syntax_uid", sa.String(64), nullable=False),
        sa.Column("modality", sa.String(16)),
        sa.Column("study_date", sa.String(8)),
        sa.Column("patient_key", sa.String(64)),
        sa.Column("height", sa.Integer),
        sa.Column("width", sa.Integer),
        sa.Column("found_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_dicom_instances_object_id", "dicom_instances", ["object_id"])
    op.create_index("ix_dicom_instances_study_uid", "dicom_instances", ["study_uid", "series_uid"])
    op.create_index("ix_dicom_instances_found_at", "dicom_instances", ["found_at"])
