"""The signer's own door, on its own origin: where a person's passkey answers. Served by the process that holds the keys."""
