"""Alembic migrations; `python -m migrations` brings the configured database up to date."""
