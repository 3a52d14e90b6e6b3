"""Pure judging: bytes in, facts out."""
