"""Whoever a portal names beside a known number is who signs: another name is refused, another spelling is not."""

import pytest

from core.errors import Refused
from signer.enrolment.people import People

NUMBER = "001085000017"


async def test_a_known_number_with_another_name_is_nobody(office):
    people = People(
        clock=office.clock, directory=office.records.directory, credentials=office.records.credentials, key=bytes(32)
    )

    async def expected(number, name):
        async with office.db.write() as uow:
            agency = await office.records.directory.agency(uow, office.ids["agency"])
            return await people.expected(uow, agency, national_id=number, name=name)

    known = await expected(NUMBER, "Phạm Thị Ổn")
    for spelling in ("Phạm Thị Ổn", " PHẠM  THỊ ỔN "):
        assert await expected(NUMBER, spelling) == known
    for name in ("Phạm Thị On", "Trần Văn Hai"):
        with pytest.raises(Refused) as caught:
            await expected(NUMBER, name)
        assert (caught.value.code, caught.value.evidence) == ("people.no_match", {})
    assert await expected(None, "Trần Văn Hai") != known
