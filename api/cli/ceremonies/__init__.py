"""How key ceremonies run on the command line: who is there is typed, steps are confirmed, a signed protocol is left."""

from api.cli.ceremonies.acts import Destroy, Disable, Rotate
from api.cli.ceremonies.base import Done, end
from api.cli.ceremonies.entering import Import, Move
from api.cli.ceremonies.release import Release, mark_text
from api.cli.ceremonies.stores import Ceremony, Init
from api.cli.ceremonies.views import listed, policies

__all__ = [
    "Ceremony",
    "Destroy",
    "Disable",
    "Done",
    "Import",
    "Init",
    "Move",
    "Release",
    "Rotate",
    "end",
    "listed",
    "mark_text",
    "policies",
]
