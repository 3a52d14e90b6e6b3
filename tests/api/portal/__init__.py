"""Tests of the portal's door."""
