"""Run as a process of its own: a worker whose session is ended behind its back in one way, then asked again.

``python -m tests.signer.keystores.pkcs11.behind HOW MODULE TOKEN PIN_FILE`` prints what the calls answered, as JSON.
"""

import ctypes
import hashlib
import json
import os
import sys

import pkcs11
from pkcs11 import Attribute, ObjectClass

from signer.keystores.pkcs11.worker import Worker

HOW, MODULE, TOKEN, PIN_FILE = sys.argv[1:]
ALGORITHM = "ecdsa-p256-sha256"


def end(worker, how):
    device = worker.device
    library = ctypes.CDLL(MODULE)  # the very instance that the worker holds
    session = ctypes.c_ulong(device.session.handle)
    if how == "closed":
        device.session.close()
    elif how == "logged-out":
        assert library.C_Logout(session) == 0
    elif how == "all-closed":
        assert library.C_CloseAllSessions(ctypes.c_ulong(device.session.token.slot.slot_id)) == 0
    elif how == "finalized":
        assert library.C_Finalize(None) == 0
    elif how == "search-left-open":
        assert library.C_FindObjectsInit(session, None, ctypes.c_ulong(0)) == 0
    elif how == "key-destroyed":
        for each in list(device.session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})):
            each.destroy()


def main():
    denied = os.memfd_create("denied")
    os.pwrite(denied, b"\0", 0)
    worker = Worker(
        {"module": MODULE, "token": TOKEN, "pin_file": PIN_FILE, "record_seconds": 30, "unwrapped": 2}, denied
    )
    bound = {"name": "a", "binding": "b", "algorithm": ALGORITHM}
    spki = worker.answer({"op": "create", **bound})["spki"]
    key = bound | {"spki_sha256": hashlib.sha256(bytes.fromhex(spki)).hexdigest()}
    parcel = worker.answer({"op": "wrap", "name": "w", "binding": "w", "algorithm": ALGORITHM})
    wrapped = {"name": "w", "binding": "w", "algorithm": ALGORITHM, **parcel}
    items = {"items": ["11" * 32, "22" * 32]}
    answers = [worker.answer({"op": "sign", **key, **items}), worker.answer({"op": "sign", **wrapped, **items})]
    for request in (
        {"op": "sign", **key, **items},
        {"op": "sign", **wrapped, **items},
        {"op": "public", **key},
        {"op": "create", **bound},
        {"op": "wrap", "name": "a", "binding": "a", "algorithm": ALGORITHM},
        {"op": "wrap", "name": "v", "binding": "v", "algorithm": ALGORITHM},
        {"op": "health"},
    ):
        end(worker, HOW)
        answers.append(worker.answer(request))
    masters = list(worker.device.session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))
    sys.stdout.write(json.dumps({"answers": answers, "masters": len(masters)}))
    sys.stdout.flush()
    os._exit(0)


assert pkcs11
main()
