"""Keys in a PKCS#11 token (a network HSM, a card; SoftHSM for development and tests).

The vendor's module is foreign machine code that is initialised without locks, so it never enters the service's process:
each worker process loads its own, holds one session and has one thread (``worker``, ``device``). The service's side is a
bounded queue over pipes (``pool``) and the port (``store``).

Nothing is imported here: a worker shall hold the module and little else.
"""
