"""Signers whose key lies with somebody else: remote-signing services behind one small port, and our own keys behind it too."""
