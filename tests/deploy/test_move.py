"""docs/operate/keys.md, "Move": a home that began with software keys goes on with OpenBao alone, and no public link changes."""

import asyncio
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.doctor_keys import KeyDoctor
from api.roles import ProcessRole
from ca_bridge.authorities.embedded import Subject
from core.certificates import Certificate
from core.errors import Refused
from core.formats.note import NoteKey, verify_proof
from signer.credentials import Credentials
from signer.keyceremony.rotation import Rotation
from signer.keystores.model import KeyPurpose
from signer.keystores.policies import Identity, policy_for
from signer.keystores.registry import KeyState, Registry
from signer.records import copy_table
from tests import scanner
from tests.conftest import BentClock
from tests.flows import stores, town
from tests.flows.deciding import administrators, decide

pytestmark = pytest.mark.live
_SERVICES = (
    ("tsa", KeyPurpose.TSA),
    ("ocsp", KeyPurpose.OCSP),
    ("lists", KeyPurpose.LIST),
    ("report", KeyPurpose.REPORT),
)
_MOVED = (("log", KeyPurpose.LOG), ("root", KeyPurpose.CA), ("issuing", KeyPurpose.CA))


async def _certify(service, folder, name):
    done = await certify_file(service, [town.scan(name)], name, town.request(), folder)
    return Path(done["file"]).read_bytes(), done["qr"].partition("#")[0]


async def _verdict(settings, data):
    async with Checker.open(settings, []) as checker:
        return (await checker.check(data)).verdict.value


async def _used(service, *owners):
    async with service.db.read() as uow:
        return {owner: await service.credentials.of(uow, owner, purpose) for owner, purpose in owners}


def _importer(server, folder):
    """What an operator hands over for one ceremony: the role of that name, and a secret id that only one can unwrap."""
    policy = policy_for(Identity.IMPORTER, ("transit",))
    server.add_policy(policy.name, policy.hcl())
    role = {"token_policies": [policy.name], "token_no_default_policy": True, "token_ttl": "15m"}
    server.api("POST", f"auth/approle/role/{policy.name}", role)
    file = folder / f"{policy.name}.secret-id"
    file.write_text(scanner.secret(server.wrapped_secret_id(policy.name)))
    return server.role_id(policy.name), file


async def _move(settings, server, folder):
    """``dauso keys move log root issuing`` in a process of its own; what it says."""
    role_id, file = _importer(server, folder)
    names = [name for name in settings.model_fields_set if name.startswith(("vault_", "transit_"))]
    env = {f"DAUSO_{name.upper()}": str(getattr(settings, name)) for name in (*names, "keys")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "api.cli", "--home", settings.home, "keys", "move", *(owner for owner, _ in _MOVED),
        "--role-id", role_id, "--secret-id-file", file, "--yes", "--json",
        env=town.environment() | env, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, out.decode() + err.decode()
    done = json.loads(out)
    assert (done["good"], done["signed"], done["error"]) == (True, True, None)
    return done


async def _follow(service):
    """Agencies' and service keys as the guide says; the officials' new key as their phones would ask for it."""
    rotation = Rotation(enrolment=service.enrolment)
    await rotation.rotate("H1", KeyPurpose.SEAL)
    await rotation.rotate("H1", KeyPurpose.QR)
    for owner, purpose in _SERVICES:
        await rotation.rotate(owner, purpose)
    for purpose in (KeyPurpose.LOG, KeyPurpose.CA):
        with pytest.raises(Refused, match="stays"):
            await rotation.rotate("log", purpose)
    await service.publisher.keys()
    async with service.db.read() as uow:
        old = [each for each, active in await service.credentials.all(uow, KeyPurpose.DOCUMENT) if active]
        issuing = await service.credentials.of(uow, "issuing", KeyPurpose.CA)
    for each in old:
        name = Subject(common_name="Lê Thị Hữu", organisation="UBND xã Đường Lâm")
        made = await service.enrolment.make(KeyPurpose.DOCUMENT, "official", name, issuing)
        async with service.db.write() as uow:
            await service.enrolment.keep(uow, each.owner, made)
            await service.credentials.retire(uow, each.id)


async def _end_old(service, people, moved):
    """By decision, and in the software store; nobody's certificate ends with it."""
    for each in moved.values():
        async with service.db.read() as uow:
            old = await Registry(service.clock).find(uow, each.key)
        await decide(service, people, "key.disable", {"key": old.id, "why": "Đã dời", "revoke": ""})
        await service.parts().key_work.run(old.id)
        async with service.db.read() as uow:
            assert (await Registry(service.clock).get(uow, old.id)).state is KeyState.DISABLED
            assert [w.state for w in await Registry(service.clock).works(uow, old.id)] == ["done"]
    later = BentClock(service.clock.now() + dt.timedelta(hours=2))
    async with service.db.write() as uow:  # what a rotation replaced
        await Credentials(later).retire_followed(uow)


def _openssl(folder, root, issuing, *leaves):
    for name, der in (("root", root), ("issuing", issuing)):
        (folder / f"{name}.pem").write_bytes(Certificate.parse(der).parsed.public_bytes(Encoding.PEM))
    for number, der in enumerate(leaves):
        file = folder / f"leaf-{number}.pem"
        file.write_bytes(Certificate.parse(der).parsed.public_bytes(Encoding.PEM))
        command = ["openssl", "verify", "-CAfile", folder / "root.pem", "-untrusted", folder / "issuing.pem", file]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr


async def test_a_home_leaves_its_files_altogether_and_everything_that_was_given_out_stays(openbao, tmp_path):
    before = await town.build(tmp_path / "home", fresh=True)
    async with bootstrap.open_service(before, ProcessRole.SIGNER) as service:
        people = await administrators(service)
        old, old_link = await _certify(service, tmp_path, "cu")
        vkey = service.log_vkey
        async with service.db.read() as uow:
            agency = (await service.directory.agency(uow, "H1")).id
        first = await _used(service, *_MOVED, (agency, KeyPurpose.SEAL))

    # 3 both stores; 4 and 5 rotation where it can be; 6 people
    after = before.model_copy(update=stores.transit(openbao, tmp_path))
    async with bootstrap.open_service(after, ProcessRole.SIGNER) as service:
        await _follow(service)
        for owner, _ in _MOVED:
            async with service.db.read() as uow:
                key = await Registry(service.clock).find(uow, first[owner].key)
            await decide(service, people, "key.move", {"key": key.id})
        # 7 the others move while this process goes on with what it read at its start
        done = await _move(after, openbao, tmp_path)
        assert any(fact["value"] == vkey for fact in done["facts"])
        between, _ = await _certify(service, tmp_path, "giua")
    async with bootstrap.open_service(after, ProcessRole.SIGNER) as service:
        assert service.log_vkey == vkey
        await _end_old(service, people, {owner: first[owner] for owner, _ in _MOVED})

    # 8 the files are gone
    (before.home / "key-file").unlink()
    alone = after.model_copy(update=stores.transit(openbao, tmp_path))
    async with bootstrap.open_service(alone, ProcessRole.SIGNER) as service:
        assert [each.name for each in service.parts().store.all()] == ["transit"]
        assert service.log_vkey == vkey
        new, new_link = await _certify(service, tmp_path, "moi")
        assert new_link == old_link
        qr = await _used(service, (agency, KeyPurpose.QR))
        used = await _used(service, *_MOVED, *_SERVICES, (agency, KeyPurpose.SEAL))
        assert {each.key.store for each in (*used.values(), *qr.values())} == {"transit"}
        for owner, _ in _MOVED:
            assert (used[owner].certificate, used[owner].key.spki) == (first[owner].certificate, first[owner].key.spki)
        rows = await KeyDoctor(
            settings=alone, realm=service.realm, clock=service.clock, db=service.db, keys=service.parts().store
        ).examine()
        assert [row for row in rows if row[0].startswith("key") and not row[1]] == []
        assert not any("NOT FOR PRODUCTION" in detail for _, _, detail in rows)
        assert sum("it once lay in a file" in detail for _, _, detail in rows) == len(_MOVED)
        async with service.db.read() as uow:
            copies = (await uow.execute(sa.select(copy_table.c.receipt, copy_table.c.leaf))).all()
    assert len(copies) == 3
    for copy in copies:
        verify_proof(bytes(copy.receipt).decode(), bytes(copy.leaf), NoteKey.parse(vkey))
    for data in (old, between, new):
        assert await _verdict(alone, data) == "genuine"
    seals = [first[agency].certificate, used[agency].certificate]
    _openssl(tmp_path, used["root"].certificate, used["issuing"].certificate, *seals, used["tsa"].certificate)


async def test_without_its_key_file_an_old_key_is_refused_and_nothing_takes_its_place(openbao, tmp_path):
    before = await town.build(tmp_path / "home", fresh=True)
    (before.home / "key-file").rename(tmp_path / "key-file")
    after = before.model_copy(update=stores.transit(openbao, tmp_path))
    with pytest.raises(Exception, match=r"key\.|store"):
        async with bootstrap.open_service(after, ProcessRole.SIGNER) as service:
            await _certify(service, tmp_path, "x")
