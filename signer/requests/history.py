"""A request's changes read as one story. Each is committed to by a leaf of the log, so what they say is more than a claim."""

import base64
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from core.formats import canonical_json

__all__ = ["DOCUMENT", "History", "time_of"]

DOCUMENT: Final = ("id", "title", "kind", "pages", "sha256", "digest", "algorithm")
"""Members of a document that the first change speaks of."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def time_of(log: Mapping[str, str]) -> str:
    """When a leaf was written: ISO 8601 to the millisecond, UTC; empty where it does not say. Raises ``ValueError``."""
    leaf = canonical_json.decode(base64.b64decode(log["leaf"], validate=True))
    try:
        return (_EPOCH + dt.timedelta(milliseconds=leaf["time_ms"])).isoformat()
    except (KeyError, TypeError, OverflowError):
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the changes come to."""

    plain: bool
    """Begun once, first of all, and in their order."""
    created: Mapping[str, Any] | None
    asked: Mapping[str, Mapping[str, Any]]
    """By step: position, kind, provider, person."""
    wanted: frozenset[str]
    """Steps that count: without replaced ones."""
    deadline: str | None
    created_at: str | None
    settled: Mapping[str, Any] | None
    settled_at: str | None

    @classmethod
    def of(cls, changes: Sequence[Mapping[str, Any]]) -> Self:
        """In their order. Raises ``KeyError``, ``TypeError`` for what is none."""
        asked: dict[str, Mapping[str, Any]] = {}
        wanted: set[str] = set()
        ends: dict[str, Any] = dict.fromkeys(("created", "created_at", "deadline", "settled", "settled_at"))
        for change in changes:
            said = change["said"]
            if said["what"] == "created":
                asked = {row["id"]: {name: row[name] for name in _STEP} for row in said["steps"]}
                wanted = set(asked)
                ends |= {"created": said, "created_at": change["at"], "deadline": said["deadline"]}
            elif said["what"] == "replaced":
                asked[said["by"]] = {**asked[said["step"]], "person": said["person"]}
                wanted = (wanted - {said["step"]}) | {said["by"]}
            elif said["what"] == "extended":
                ends["deadline"] = said["deadline"]
            elif change["type"] == "request_settled":
                ends |= {"settled": said, "settled_at": change["at"]}
        types, versions = [each["type"] for each in changes], [each["version"] for each in changes]
        plain = (
            types[:1] == ["request_created"] and types.count("request_created") == 1
            and types.count("request_settled") == ("request_settled" in types[-1:])
            and versions == sorted(set(versions))
        )  # fmt: skip
        return cls(plain=plain, asked=asked, wanted=frozenset(wanted), **ends)

    @property
    def state(self) -> str:
        """Of the request, after the last change."""
        return "open" if self.settled is None else str(self.settled["what"])

    @property
    def signed(self) -> Mapping[str, Mapping[str, Any]]:
        """By step: code and time of its approval, where the end of the request speaks of it."""
        return {} if self.settled is None else {row["id"]: row for row in self.settled["signed"]}

    @property
    def released(self) -> Mapping[str, str]:
        """By document: SHA-256 of the signed file."""
        return {} if self.settled is None else {row["id"]: row["sha256"] for row in self.settled.get("documents", ())}

    @property
    def request(self) -> Mapping[str, Any]:
        """What is known of the request itself."""
        created = self.created or {}
        return {name: created.get(name) for name in ("title", "reason", "client", "client_name")} | {
            "deadline": self.deadline, "created_at": self.created_at, "state": self.state, "settled_at": self.settled_at,
        }  # fmt: skip

    @property
    def agency(self) -> Mapping[str, Any]:
        """As it was called when it asked."""
        created = self.created or {}
        return {"code": created.get("agency_code"), "name": created.get("agency_name")}

    @property
    def documents(self) -> list[dict[str, Any]]:
        """As they were asked to be signed."""
        return [{name: row[name] for name in DOCUMENT} for row in (self.created or {}).get("documents", ())]


_STEP: Final = ("position", "kind", "provider", "person")
