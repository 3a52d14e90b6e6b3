"""Realm training only: what stands in for services of the real world, and says so on every page."""
