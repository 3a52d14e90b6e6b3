"""How key ceremonies run on the command line: who is there is typed, steps are confirmed, a signed protocol is left."""

from api.cli.ceremonies.acts import Destroy, Disable, Import, Rotate
from api.cli.ceremonies.base import Done
from api.cli.ceremonies.stores import Ceremony, Init
from api.cli.ceremonies.views import listed, policies

__all__ = ["Ceremony", "Destroy", "Disable", "Done", "Import", "Init", "Rotate", "listed", "policies"]
