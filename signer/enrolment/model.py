"""What the pages of enrolment are told."""

import datetime as dt
from dataclasses import dataclass

from core.messages import LANGUAGES, sentence
from signer.enrolment.people import Standing, Waiting

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
    waiting: Waiting | None = None
    """A phone that will become usable: shown to whoever holds the link, even beside one that is in use."""
    ended: bool = False
    """An official's, and no role runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a run stands, for its own page."""

    state: str
    kind: str
    method: str
    usable_from: dt.datetime | None
    official: bool
    """A role runs now: the desk is theirs."""
    delayed: bool
    desk: bool
    """The run's pass gives the ticket to the desk already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """One person suspended by a log-in, with the pass to enrol again."""

    agency: str
    official: bool
    stopped: int
    token: str | None
    """The pass; None where nothing can be enrolled anew: the office has ended, or the log-in's level is too low for it."""
