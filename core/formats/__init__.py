"""Pure byte formats, shared by a writer above and a reader above. No I/O, no clock, no randomness."""
