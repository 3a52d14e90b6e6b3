"""The portal's door, ``/api/v1``: thin routes over copies, batches, the register, verifications, events."""
