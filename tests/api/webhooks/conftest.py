"""A client, its endpoints, a courier with the jobs of the tests; a receiver that answers what it is told to."""

import contextlib
import datetime as dt
from types import SimpleNamespace

import pytest

from api.clients.model import Scope
from api.clients.store import Clients
from api.webhooks.delivery import Courier
from api.webhooks.model import Scheme
from api.webhooks.records import Deliveries, Endpoints
from audit.outbox import EventType, Outbox
from core.jobs import Again
from core.outbound import Outbound
from core.sealed import Box
from core.values import Realm
from tests.fakes import MemoryJobs
from tests.servers import http

AGENCY = "a" * 26
RELEASED = EventType.COPY_RELEASED


class Receiver:
    """Answers ``answers`` in turn, the last one for ever; remembers what it was sent."""

    def __init__(self):
        self.answers = [(200, {})]
        self.heard = []
        self.bodies = []
        self.url = ""
        self.place = ""

    def answer(self, method, body):
        assert method == "POST"
        self.bodies.append(body)
        status, headers = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        return status, headers, b""


@pytest.fixture
def receiver():
    made = Receiver()
    with http(made.answer, made.heard) as port:
        made.place = f"127.0.0.1:{port}"
        made.url = f"http://{made.place}/hook"
        yield made


@pytest.fixture
async def post(db, clock, receiver):
    """The whole post office: client, endpoints, deliveries, courier."""
    async with contextlib.AsyncExitStack() as stack:
        private = frozenset({receiver.place})
        outbound = Outbound(private=private)
        stack.push_async_callback(outbound.close)
        endpoints = Endpoints(clock, Box(bytes(32), "webhooks"))
        jobs = MemoryJobs({}, clock)
        courier = Courier(db=db, clock=clock, endpoints=endpoints, outbound=outbound, jobs=jobs, private=private)
        courier.serve()
        clients = Clients(db, clock, "https://host/oauth2/token")
        client = await clients.add("Cổng dịch vụ công", [AGENCY], [Scope.WEBHOOKS_WRITE, Scope.EVENTS_READ])
        yield Post(
            db=db, clock=clock, endpoints=endpoints, courier=courier, clients=clients, client=client, receiver=receiver,
            jobs=jobs, deliveries=Deliveries(clock),
        )  # fmt: skip
        await jobs.stop()


class Post(SimpleNamespace):
    async def endpoint(self, url=None, types=(), scheme=Scheme.V1):
        async with self.db.write() as uow:
            return await self.endpoints.create(uow, self.client.id, url or self.receiver.url, types, scheme)

    async def again(self, endpoint):
        """As it stands now."""
        async with self.db.read() as uow:
            return await self.endpoints.get(uow, self.client.id, endpoint.id)

    async def happen(self, *subjects, type_=RELEASED, agency=AGENCY, **ids):
        for subject in subjects:
            async with self.db.write() as uow:
                await Outbox(self.clock).append(
                    uow, type_, realm=Realm.TRAINING, agency_id=agency, subject=subject, **ids
                )

    async def log(self, endpoint, **which):
        """Deliveries, the oldest first."""
        async with self.db.read() as uow:
            found = await self.deliveries.page(uow, endpoint.id, **{"state": None, "after": None, "limit": 999} | which)
        return found[::-1]

    async def attempts(self, delivery):
        async with self.db.read() as uow:
            return (await self.deliveries.attempts(uow, [delivery]))[delivery.id]

    async def one(self, endpoint, subject="copy-1"):
        """The delivery of a new event, not tried yet."""
        await self.happen(subject)
        await self.courier.fan_out()
        return next(d for d in await self.log(endpoint) if subject in d.body)

    async def attempt(self, delivery):
        """Seconds until the next try, None where there is none."""
        try:
            await self.courier.attempt(delivery.id, lambda _: None)
        except Again as again:
            return again.seconds
        return None

    async def attempt_until_over(self, delivery):
        """The clock goes as far as each wait; returns the waits."""
        waits = []
        while (seconds := await self.attempt(delivery)) is not None:
            waits.append(seconds)
            self.clock.at += dt.timedelta(seconds=seconds)
        return waits
