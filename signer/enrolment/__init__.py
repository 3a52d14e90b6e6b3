"""How people, and the keys that are theirs, come in: ``house`` makes owners, ``phones`` enrols a person's phone."""

from signer.enrolment.house import SERVICE, Enrolment, issuer_of

__all__ = ["SERVICE", "Enrolment", "issuer_of"]
