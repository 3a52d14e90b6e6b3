"""Certificates and time: authorities, issuance, revocation, OCSP, CRL, RFC 3161."""
