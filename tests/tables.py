"""Every table: each process knows the tables of its own rooms, the tests those of all."""

import api.serving
import api.sign.app
import api.web.app
from core.db import metadata

__all__ = ["EVERY"]

assert api.serving and api.sign.app and api.web.app

EVERY = metadata
