"""Optional content (ISO 32000-2 §8.11): layers may stay where every reader shows all of them. Runs in the sandbox.

Readers disagree on everything else: pdfium obeys ``/Usage`` by itself, poppler only the lists of the configuration; some
know no ``/VE``; what is meant for printing looks different on a phone.
"""

from typing import Any

from pikepdf import Array, Dictionary, Name, Pdf

from core.errors import Refused

__all__ = ["NAMES", "require_shown", "require_shown_by_default"]

_CODE = "request.paper_changes_look"
NAMES = ("OCG", "OCMD", "Usage", "VE", "AllOff", "AnyOff")
"""An object without one of these names hides nothing."""
_SAYS_NOTHING = {"/CreatorInfo", "/PageElement"}
_STATES = {"/View": "/ViewState", "/Print": "/PrintState", "/Export": "/ExportState"}


def require_shown(entry: Any) -> None:
    """A dictionary that may be a layer, or a rule over layers, hides nothing. Raises ``request.paper_changes_look``."""
    if "/VE" in entry or entry.get("/P") in (Name.AllOff, Name.AnyOff):
        raise Refused(_CODE)
    usage = entry.get("/Usage")
    if usage is None:
        return
    if not isinstance(usage, Dictionary):
        raise Refused(_CODE)
    for key, value in usage.items():
        if key in _SAYS_NOTHING:
            continue
        # also by zoom, by language, by who reads
        if key not in _STATES or not isinstance(value, Dictionary) or value.get(_STATES[key], Name.ON) != Name.ON:
            raise Refused(_CODE)


def require_shown_by_default(pdf: Pdf) -> bool:
    """Whether there are layers; all of them are on. Raises ``request.paper_changes_look``."""
    layers = pdf.Root.get("/OCProperties")
    if layers is None:
        return False
    others = layers.get("/Configs", Array([]))
    for config in (layers.get("/D"), *(others[i] for i in range(len(others)))):
        if not isinstance(config, Dictionary) or config.get("/BaseState", Name.ON) != Name.ON:
            raise Refused(_CODE)
        for key in ("/OFF", "/RBGroups"):  # of a group of alternatives, one is shown
            listed = config.get(key, Array([]))
            if not isinstance(listed, Array) or len(listed):
                raise Refused(_CODE)
    return True
