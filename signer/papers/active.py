"""What a paper must not hold: things that act, that come from elsewhere, or that nobody sees while signing.

Runs in the sandbox. qpdf writes every name in one form, so a pattern over what it writes finds all candidates; each is
then looked at entry by entry, since a text may hold the same letters.
"""

import re
from collections.abc import Iterator
from typing import Any

from pikepdf import Array, Dictionary, Name, Pdf, Stream

from core.errors import Refused
from signer.papers.layers import NAMES, require_shown, require_shown_by_default
from signer.papers.looks import require_one_look

__all__ = ["require_passive", "warnings_of"]

_ACTIONS = {
    "/JavaScript": "request.paper_script", "/Launch": "request.paper_launch", "/SubmitForm": "request.paper_submit",
    "/ImportData": "request.paper_submit", "/Rendition": "request.paper_media", "/Movie": "request.paper_media",
    "/Sound": "request.paper_media", "/RichMediaExecute": "request.paper_media", "/GoTo3DView": "request.paper_media",
    "/GoToE": "request.paper_attachment", "/Hide": "request.paper_changes_look", "/SetOCGState": "request.paper_changes_look",
    "/ResetForm": "request.paper_changes_look",
}  # fmt: skip
"""``/S`` of actions."""
_KINDS = {
    "/RichMedia": "request.paper_media", "/3D": "request.paper_media", "/Screen": "request.paper_media",
    "/Movie": "request.paper_media", "/Sound": "request.paper_media", "/FileAttachment": "request.paper_attachment",
    "/PS": "request.paper_script",
}  # fmt: skip
"""``/Subtype`` of annotations and drawings."""
_KEYS = {
    "/JS": "request.paper_script", "/JavaScript": "request.paper_script", "/XFA": "request.paper_xfa",
    "/EmbeddedFiles": "request.paper_attachment", "/EF": "request.paper_attachment", "/Ref": "request.paper_elsewhere",
    "/OPI": "request.paper_elsewhere",
}  # fmt: skip
_NAMES = sorted(
    {key[1:] for group in (_ACTIONS, _KINDS, _KEYS) for key in group} | {"Alternates", *NAMES}, key=len, reverse=True
)
_SUSPECT = re.compile(b"/(?:" + b"|".join(name.encode() for name in _NAMES) + rb")(?![A-Za-z0-9_.-])")
_DEEP = 200


def require_passive(pdf: Pdf) -> None:
    """Raises ``request.paper_xfa``, ``…_script``, ``…_launch``, ``…_submit``, ``…_media``, ``…_attachment``,
    ``…_changes_look``, ``…_elsewhere``."""  # noqa: D209
    for thing in pdf.objects:
        if isinstance(thing, Stream):
            if "/F" in thing:
                raise Refused("request.paper_elsewhere")  # the bytes of the stream lie in another file
            if thing.get("/Subtype") == Name.Form and len(thing.get("/BBox", Array([]))) != 4:
                raise Refused("request.paper_changes_look")  # drawn by some readers and not by others
            held: Any = thing.stream_dict
        elif isinstance(thing, Dictionary | Array):
            held = thing
        else:
            continue
        if _SUSPECT.search(held.unparse(resolved=True)):
            for entry in _dictionaries(held):
                _require_harmless(entry)


def _dictionaries(thing: Any) -> Iterator[Any]:
    """Those written inside one object; what it refers to has its own turn."""
    waiting = [(thing, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > _DEEP:
            raise RecursionError
        if isinstance(found, Array):
            children = [found[i] for i in range(len(found))]
        elif isinstance(found, Dictionary):
            yield found
            children = [value for _, value in found.items()]
        else:
            continue
        waiting += [(c, depth + 1) for c in children if isinstance(c, Array | Dictionary) and not c.is_indirect]


def _require_harmless(entry: Any) -> None:
    for key, code in _KEYS.items():
        if key in entry:
            raise Refused(code)
    if len(entry.get("/Alternates", Array([]))):
        raise Refused("request.paper_changes_look")  # another picture for print
    require_shown(entry)
    action, kind = entry.get("/S"), entry.get("/Subtype")
    if isinstance(action, Name) and str(action) in _ACTIONS:
        raise Refused(_ACTIONS[str(action)])
    if isinstance(kind, Name) and str(kind) in _KINDS:
        raise Refused(_KINDS[str(kind)])


def warnings_of(pdf: Pdf) -> list[str]:
    """Codes of what does not forbid a signature, but what portal and signer should know.

    Raises ``request.paper_changes_look`` where another reader may show another paper.
    """
    found = {"request.warn_layers"} if require_shown_by_default(pdf) else set()
    return sorted(found.union(require_one_look(pdf)))
