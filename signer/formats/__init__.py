"""Signature formats: what is signed and where the signature goes."""
