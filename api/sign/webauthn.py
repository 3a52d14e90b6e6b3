"""WebAuthn's JSON forms (level 3, §5.1 and 5.2) at our doors: one codec, with a size for every member.

Members that decide nothing are let through unread, since browsers add some; what is read is bounded.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.errors import BadInput
from core.limits import LIMITS
from signer.activation.passkeys import Assertion, RelyingParty

__all__ = ["Credential", "Registration", "request_options", "to_bytes", "to_text"]


class _AssertionResponse(BaseModel):
    """AuthenticatorAssertionResponseJSON."""

    model_config = ConfigDict(extra="ignore")
    clientDataJSON: str = Field(max_length=8_192)  # noqa: N815 - the standard's names
    authenticatorData: str = Field(max_length=8_192)  # noqa: N815
    signature: str = Field(max_length=4_096)


class Credential(BaseModel):
    """AuthenticationResponseJSON."""

    model_config = ConfigDict(extra="ignore")
    rawId: str = Field(max_length=2_048)  # noqa: N815
    response: _AssertionResponse

    def assertion(self) -> Assertion:
        """As the signer verifies it. Raises ``activation.malformed``."""
        return Assertion(
            credential_id=to_bytes(self.rawId), client_data=to_bytes(self.response.clientDataJSON),
            authenticator_data=to_bytes(self.response.authenticatorData), signature=to_bytes(self.response.signature),
        )  # fmt: skip


class _AttestationResponse(BaseModel):
    """AuthenticatorAttestationResponseJSON."""

    model_config = ConfigDict(extra="ignore")
    clientDataJSON: str = Field(max_length=8_192)  # noqa: N815
    attestationObject: str = Field(max_length=32_768)  # noqa: N815
    transports: list[str] = Field(default_factory=list, max_length=16)


class Registration(BaseModel):
    """RegistrationResponseJSON."""

    model_config = ConfigDict(extra="ignore")
    rawId: str = Field(max_length=2_048)  # noqa: N815
    response: _AttestationResponse

    def raw(self) -> tuple[bytes, bytes, bytes]:
        """Credential id, client data, attestation object. Raises ``activation.malformed``."""
        given = self.response
        return to_bytes(self.rawId), to_bytes(given.clientDataJSON), to_bytes(given.attestationObject)


def request_options(
    challenge: bytes, rp: RelyingParty, credential_ids: Iterable[bytes] = (), seconds: int | None = None
) -> dict[str, Any]:
    """PublicKeyCredentialRequestOptionsJSON; ``seconds``: how long the question stands.

    The person's own passkeys are named, so that on a phone shared by a family the right one is offered, and one that
    the phone does not list by itself is found.
    """
    allowed = [{"type": "public-key", "id": to_text(each)} for each in credential_ids]
    return {
        "challenge": to_text(challenge), "rpId": rp.rp_id, "userVerification": "required",
        "timeout": (seconds or LIMITS["activation.seconds"]) * 1000, "allowCredentials": allowed,
    }  # fmt: skip


def to_text(value: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def to_bytes(text: str) -> bytes:
    """Back. Raises ``activation.malformed``."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadInput("activation.malformed") from error
