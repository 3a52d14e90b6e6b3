"""Activation: a person's approval of an exact digest list, given by a passkey, spent once."""
