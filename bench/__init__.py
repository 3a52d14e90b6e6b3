"""Measurements: ratios against a peer in the same run, never in a timed test."""
