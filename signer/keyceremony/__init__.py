"""What administrators do with keys, as ceremonies: prepare a store, rotate, bring in a key; each ends with a signed protocol."""
