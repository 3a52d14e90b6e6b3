"""One error tree; every leaf has a stable code and a sentence in two languages.

::

    ServiceError
    ├── BadInput        what the caller gave cannot be used; nothing was changed
    ├── Refused         a rule forbids it (role, order, realm, term, budget)
    ├── NotFound        the thing named does not exist here
    ├── Conflict        somebody else was first, or it was done before
    ├── Unavailable     a part we need does not answer; trying again may help
    └── Broken          our own invariant does not hold: stop and look

Rules:

* ``code`` is part of the interface: it never changes its meaning. ``docs/reference/errors.md`` lists all, a test compares.
* The sentences live in ``core/messages.py``, keyed by code; ``evidence`` fills their placeholders.
* ``evidence`` holds nothing secret and nothing personal.
"""

from core.messages import sentence

__all__ = ["BadInput", "Broken", "Conflict", "NotFound", "Refused", "ServiceError", "Unavailable"]


class ServiceError(Exception):
    """Base of all errors of ours. ``code`` is stable, ``evidence`` fills the sentence."""

    def __init__(self, code: str, **evidence: object) -> None:
        super().__init__(code)
        self.code = code
        self.evidence = evidence

    def plain(self) -> dict[str, str | int | float | bool | None]:
        """The evidence as JSON holds it."""
        return {
            k: v if isinstance(v, str | int | float | bool) or v is None else str(v) for k, v in self.evidence.items()
        }

    def say(self, language: str = "vi") -> str:
        """The sentence for people, in ``vi`` or ``en``."""
        return sentence(self.code, language, **self.evidence)

    def __str__(self) -> str:
        return f"{self.code}: {self.say('en')}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r})"


class BadInput(ServiceError):
    """What the caller gave cannot be used; nothing was changed."""


class Refused(ServiceError):
    """A rule forbids it."""


class NotFound(ServiceError):
    """The thing named does not exist here."""


class Conflict(ServiceError):
    """Somebody else was first, or it was done before."""


class Unavailable(ServiceError):
    """A part we need does not answer; trying again may help."""


class Broken(ServiceError):
    """Our own invariant does not hold; nothing is released until a person looked."""
