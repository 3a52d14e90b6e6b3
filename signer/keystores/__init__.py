"""Key stores: where private keys live. A store yields ``SigningKey``s and never falls back to another store."""
