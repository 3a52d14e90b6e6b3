"""Signature requests: what a portal asks people to sign, step by step, until the signed files are given back."""
