"""Tests of portals' clients."""
