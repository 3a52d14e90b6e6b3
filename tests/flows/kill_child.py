"""A process (of ``nursery.py``) that certifies and dies at a named step, or resumes what others left."""

import os
import signal
from pathlib import Path

from api import bootstrap
from api.certifying import certify_file
from api.roles import ProcessRole
from tests.flows import town


async def main(home: str, url: str, step: str) -> None:
    async with bootstrap.open_service(town.settings(Path(home), url), ProcessRole.SIGNER) as service:
        if step == "resume":
            assert await service.jobs.settle(110)  # nobody asks for anything: opening is enough
            return

        def die(name: str) -> None:
            if name == step:
                os.kill(os.getpid(), signal.SIGKILL)

        await certify_file(service, [town.scan(step)], step, town.request(), Path(home), die)
