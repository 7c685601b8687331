"""Alembic's migrations of the store; `database.open_database` brings every database to the newest."""
