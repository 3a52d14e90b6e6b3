"""Decisions that two administrators take together: what was proposed, who agreed, how it ended. Knows no passkeys."""
