"""Bytes + time + policy + evidence → ``Report``."""
