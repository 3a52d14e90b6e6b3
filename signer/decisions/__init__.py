"""Decisions of two administrators: what can be decided, how an approval is verified, and doing it when the second agrees."""
