"""What the pages of enrolment are told."""

import datetime as dt
from dataclasses import dataclass

from core.messages import LANGUAGES, sentence
from signer.enrolment.people import Standing

__all__ = ["Arrival", "Lost", "Stage", "consent_text"]


def consent_text() -> str:
    """What a person agrees to, in both languages: the digest of exactly this is kept."""
    return "\n\n".join(sentence("enrol.consent_text", language) for language in LANGUAGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What the page of a link may say before anybody showed who they are: nothing personal."""

    agency: str
    standing: Standing
    official: bool
    login: bool
    """A log-in provider is named."""
    portal: bool
    """A portal vouched for this link: a code can be sent."""
    expires: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a run stands, for its own page."""

    state: str
    kind: str
    method: str
    usable_from: dt.datetime | None
    official: bool
    delayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """One person suspended by a log-in, with the pass to enrol again."""

    agency: str
    official: bool
    stopped: int
    token: str
    """The pass."""
