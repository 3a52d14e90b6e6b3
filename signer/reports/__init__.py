"""Verification sheets: what a check found, as a paper that an office can file."""
