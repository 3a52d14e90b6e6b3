"""Everything that leads to a private key being used."""
