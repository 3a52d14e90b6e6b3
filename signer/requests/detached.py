"""Several people's detached signatures over one digest, as one CMS file: each signer information stays as it was made."""

from collections.abc import Iterable, Sequence

from asn1crypto import cms as asn1

from core.errors import Broken
from core.formats import der

__all__ = ["joined"]


def joined(pieces: Sequence[bytes]) -> bytes:
    """One ContentInfo (DER) with the signer informations and certificates of all. Raises ``cades.self_check``."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        opened = [asn1.ContentInfo.load(each, strict=True)["content"] for each in pieces]
        digests = _unique(a.dump() for each in opened for a in each["digest_algorithms"])
        certificates = _unique(c.dump() for each in opened for c in each["certificates"])
        signers = _unique(s.dump() for each in opened for s in each["signer_infos"])
        content = {each["encap_content_info"].dump() for each in opened}
    except (ValueError, TypeError, KeyError) as error:
        raise Broken("cades.self_check", detail="cms") from error
    if len(signers) != len(pieces) or len(content) != 1:
        raise Broken("cades.self_check", detail="content")
    signed = der.sequence(
        der.integer(1), der.set_of(*digests), content.pop(), der.tlv(0xA0, b"".join(certificates)), der.set_of(*signers)
    )
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, signed))


def _unique(items: Iterable[bytes]) -> list[bytes]:
    """Each once, in DER's order of a SET OF."""
    return sorted(set(items))
