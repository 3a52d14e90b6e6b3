"""Alembic migrations; ``api.bootstrap`` runs them on a home, ``dauso init`` first of all."""
