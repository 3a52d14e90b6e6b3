"""The doors; no decisions. ``bootstrap`` alone wires."""
