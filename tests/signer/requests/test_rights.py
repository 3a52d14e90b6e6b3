"""An official's key signs for the agency, never for the official alone: no step of kind ``citizen`` takes it."""

import pytest

from core.errors import Refused
from core.values import Realm
from signer.keystores.model import KeyPurpose
from signer.requests.rights import credential_of, require_may


@pytest.mark.parametrize("who", ["official", "clerk"])
async def test_who_holds_or_held_a_role_is_no_citizen(office, who):
    async with office.db.read() as uow:
        rules = {"realm": Realm.TRAINING, "agency_id": office.ids["agency"], "kind": "citizen"}
        await require_may(uow, office.desk, person_id=office.ids["an"], **rules)
        with pytest.raises(Refused, match=r"request\.not_citizen"):
            await require_may(uow, office.desk, person_id=office.ids[who], **rules)
    with pytest.raises(Refused, match=r"request\.not_citizen"):
        await office.make((who, "citizen", 0))
    office.clock.move(days=61)  # the term has ended; the key is still none of a citizen's
    with pytest.raises(Refused, match=r"request\.not_citizen"):
        await office.make((who, "citizen", 0))


async def test_a_certificate_that_names_an_agency_is_refused_whatever_the_directory_says(office):
    rules = {"agency_id": office.ids["agency"], "kind": "citizen"}
    async with office.db.read() as uow:
        await credential_of(uow, office.desk, person_id=office.ids["an"], **rules)
        theirs = await office.records.credentials.of(uow, office.ids["official"], KeyPurpose.DOCUMENT)
    with pytest.raises(
        Refused, match=r"request\.not_citizen"
    ):  # which takes the key back too: the house is others' as well
        async with office.db.write() as uow:
            await office.records.credentials.add(
                uow, realm=Realm.TRAINING, purpose=KeyPurpose.DOCUMENT, owner=office.ids["nobody"], key=theirs.key,
                certificate=theirs.certificate, chain=theirs.chain,
            )  # fmt: skip
            await credential_of(uow, office.desk, person_id=office.ids["nobody"], **rules)
