"""Certified copies: register, desk, wording, drawing."""
