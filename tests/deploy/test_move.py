"""docs/operate/keys.md, "Move": a home that began with software keys goes on with OpenBao, and no public link changes."""

from pathlib import Path

import pytest

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.roles import ProcessRole
from core.errors import Refused
from signer.keyceremony.rotation import Rotation
from signer.keystores.model import KeyPurpose
from tests.flows import stores, town

pytestmark = pytest.mark.live
_SERVICES = (
    ("tsa", KeyPurpose.TSA),
    ("ocsp", KeyPurpose.OCSP),
    ("lists", KeyPurpose.LIST),
    ("report", KeyPurpose.REPORT),
)


async def _certify(settings, folder, name):
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await certify_file(service, [town.scan(name)], name, town.request(), folder)
    return Path(done["file"]).read_bytes(), done["qr"].partition("#")[0]


async def _verdict(settings, data):
    async with Checker.open(settings, []) as checker:
        return (await checker.check(data)).verdict.value


async def _stores(settings):
    """Store of the key that each purpose would use now."""
    async with bootstrap.open_service(settings, ProcessRole.WEB) as service, service.db.read() as uow:
        agency = (await service.directory.agency(uow, "H1")).id
        owners = [
            (agency, KeyPurpose.SEAL),
            (agency, KeyPurpose.QR),
            *_SERVICES,
            ("log", KeyPurpose.LOG),
            ("root", KeyPurpose.CA),
        ]
        return {purpose: (await service.credentials.of(uow, owner, purpose)).key.store for owner, purpose in owners}


async def test_old_copies_stay_good_under_their_links_and_new_ones_are_made_in_openbao(openbao, tmp_path):
    before = await town.build(tmp_path / "home", fresh=True)
    old, old_link = await _certify(before, tmp_path, "cu")
    async with bootstrap.open_service(before, ProcessRole.WEB) as service:
        log_name = service.log_vkey
    after = before.model_copy(update=stores.transit(openbao, tmp_path))
    async with bootstrap.open_service(after, ProcessRole.SIGNER) as service:
        rotation = Rotation(enrolment=service.enrolment)
        await rotation.rotate("H1", KeyPurpose.SEAL)
        await rotation.rotate("H1", KeyPurpose.QR)
        for owner, purpose in _SERVICES:
            await rotation.rotate(owner, purpose)
        for purpose in (KeyPurpose.LOG, KeyPurpose.CA):
            with pytest.raises(Refused):
                await rotation.rotate("log", purpose)
        await service.publisher.keys()
        assert service.log_vkey == log_name, "the log's name is what receipts are checked with"
    again = after.model_copy(update=stores.transit(openbao, tmp_path))  # a new start, with a new secret id
    new, new_link = await _certify(again, tmp_path, "moi")
    assert new_link == old_link
    for data in (old, new):
        assert await _verdict(after, data) == "genuine"
    found = await _stores(after)
    assert {purpose for purpose, store in found.items() if store == "software"} == {KeyPurpose.LOG, KeyPurpose.CA}
    assert set(found.values()) == {"software", "transit"}
    async with bootstrap.open_service(after, ProcessRole.WEB) as service, service.db.read() as uow:
        qr = [(c.key.store, active) for c, active in await service.credentials.all(uow, KeyPurpose.QR)]
    assert sorted(qr) == [("software", False), ("transit", True)], "the old one is kept, retired"


async def test_without_its_key_file_an_old_key_is_refused_and_nothing_takes_its_place(openbao, tmp_path):
    before = await town.build(tmp_path / "home", fresh=True)
    (before.home / "key-file").rename(tmp_path / "key-file")
    after = before.model_copy(update=stores.transit(openbao, tmp_path))
    with pytest.raises(Exception, match=r"key\.|store"):
        await _certify(after, tmp_path, "x")
