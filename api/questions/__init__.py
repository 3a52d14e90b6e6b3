"""What the web process may ask the signer, by theme; each module gives a table of handlers for the inner door."""
