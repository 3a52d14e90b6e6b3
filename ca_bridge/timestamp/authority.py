"""The embedded time-stamping authority (RFC 3161), assembled from parts encoded once."""

import datetime as dt

from core.clock import Clock
from core.errors import Refused
from core.formats import der
from core.formats.cms import ID_TST_INFO, CmsProfile
from core.ids import random_bytes
from core.signing import SigningKey
from core.values import Digest

__all__ = ["EmbeddedTimestampAuthority"]

POLICY = "1.3.6.1.4.1.99999.1.3"


class EmbeddedTimestampAuthority:
    """Satisfies ``core.signing.Timestamper``. Refuses to stamp while the clock is behind its own last token."""

    def __init__(self, *, key: SigningKey, certificate: bytes, chain: tuple[bytes, ...], clock: Clock) -> None:
        self._key = key
        self._profile = CmsProfile(certificate, chain, key.algorithm, content_type=ID_TST_INFO)
        self._clock = clock
        self._last = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._head = der.integer(1) + der.oid(POLICY)
        self._accuracy = der.sequence(der.integer(1))

    @property
    def size(self) -> int:
        """The certificates, and a TSTInfo of less than 200 bytes."""
        return self._profile.size + 200

    async def stamp(self, digest: Digest) -> bytes:
        """A TimeStampToken over ``digest``. Raises ``clock.stepped_back``."""
        now = self._clock.now()
        if now < self._last:
            raise Refused("clock.stepped_back")
        self._last = now
        imprint = der.sequence(der.sequence(der.oid(digest.algorithm.oid), der.null()), der.octet_string(digest.value))
        serial = der.integer(int.from_bytes(random_bytes(15), "big"))
        info = der.tlv(0x30, self._head + imprint + serial + der.generalized_time(now) + self._accuracy)
        attributes = self._profile.signed_attributes(Digest.of(info, self._profile.digest).value)
        signature = await self._key.sign(Digest.of(attributes, self._profile.digest))
        return self._profile.signed_data(attributes, signature, econtent=info)
