"""Limits on size, count, time and depth, in one table (docs/reference/limits.md is compared with it by a test)."""

from typing import Final

__all__ = ["LIMITS"]

LIMITS: Final[dict[str, int]] = {
    "intake.bytes": 200 * 1024 * 1024,  # one file given by a clerk
    "intake.pages": 300,
    "intake.pixels": 200_000_000,  # one image or page; 100 000 × 100 000 is refused from its header
    "intake.warn_dpi": 200,  # Decree 30/2020 Appendix I: digitised papers at 200 dpi or more
    "sandbox.memory_bytes": 2 * 1024 * 1024 * 1024,
    "sandbox.cpu_seconds": 60,
    "sandbox.wall_seconds": 90,
    "verify.bytes": 256 * 1024 * 1024,
    "verify.signatures": 64,
    "verify.revisions": 128,
    "qr.cose_bytes": 600,
    "qr.key_days": 400,  # a seal key's life; its papers stay checkable afterwards
    "qr.list_hours": 24,  # after that a public list reads as old
    "lists.gather_ms": 500,  # releases within that time share one signed list
    "lists.look_seconds": 300,  # how often lists are compared with the register without being asked
    "outbound.bytes": 10 * 1024 * 1024,
    "outbound.connect_seconds": 5,
    "outbound.total_seconds": 15,
    "log.leaf_bytes": 65_535,
    "log.batch": 2_048,
    "activation.seconds": 600,
    "activation.documents": 100,
    "recall.day": 20,  # an agency's copies taken back in 24 hours through one door; one stolen key must not void a province
    "recall.alarm": 5,  # from that many in 24 hours a person is told to look
    "recall.reason_letters": 500,
    "copies.per_number": 100,
    "copies.check_here_bytes": 1024 * 1024,  # a finished copy up to this size is checked without a child of its own
    "ca.answer_seconds": 60,  # a signed status answer is given again while the database still says the same
    "pki.request_bytes": 8
    * 1024,  # an OCSP or time-stamp request: sixteen certificates and a signature nobody asked for
    "pki.ocsp_certificates": 16,  # asked for in one request
    "pki.nonce_bytes": 128,  # RFC 9654 §2.1
    "pki.get_letters": 255,  # of a request inside a URL (RFC 5019 §5)
    "pki.signed_minute": 90,  # answers, and stamps, signed for strangers: the rest of the keys' daily budgets stays with our copies
    # uses a day of each key that works without a person's approval (signer/keystores/budget.py)
    "budget.qr": 20_000,
    "budget.log": 200_000,
    "budget.tsa": 200_000,
    "budget.ocsp": 200_000,
    "budget.list": 20_000,
    "budget.ca": 20_000,
    "budget.report": 10_000,  # each takes a time-stamp too: far below budget.tsa, which copies need
    "report.at_once": 2,  # files up to verify.bytes that the signer holds in memory at a time
    "report.seconds": 240,  # how long the web process waits for a sheet: its turn and two sandboxed looks at a large file
    "budget.lease": 50,
    # the doors over HTTP
    "web.body_bytes": 1024 * 1024,  # a request's body where the route does not say otherwise
    "web.file_bytes": 200 * 1024 * 1024 + 64 * 1024,  # a file with the multipart frame around it
    "web.list_bytes": 8 * 1024 * 1024,  # a batch as JSON
    "web.body_seconds": 300,  # a whole body; weak lines use resumable uploads
    "web.header_bytes": 16 * 1024,
    "web.headers": 80,
    "web.url_bytes": 4096,
    "web.thumbnails": 12,  # small pictures of pages shown to who typed the access code
    "web.files_per_copy": 100,  # scanned pages given one by one
    "web.page": 200,  # rows of one page of a list
    "web.wait_seconds": 25,  # longest long poll: below the idle time of usual proxies
    "web.waiting": 64,  # long polls at a time in one process; beyond, answers come at once
    "web.drain_seconds": 30,  # how long requests under way may take at a stop
    "inbox.lease_seconds": 30,  # a request taken by a dead process is taken again after that; a living one renews
    "inbox.tries": 8,  # a paper put back that often is refused; the wait doubles each time
    "inbox.at_once": 3,  # papers under way in one signer: intake in its own process, the rest on the loop
    "inbox.sweep_seconds": 10,  # how often a signer looks without being woken: only recovery waits for this
    "idempotency.days": 7,
    "idempotency.lease_seconds": 60,  # a repeated request waits that long for one whose process died
    "statistics.days": 400,
    "search.words": 8,
    "upload.day_bytes": 20 * 1024 * 1024 * 1024,  # one client's files in 24 hours
    "search.few": 200,  # a word on that many lines or more counts as common
    "search.walk": 10_000,  # lines of the rarest word that a search looks at
    "batch.items": 5_000,
    "batch.chunk": 50,  # papers in one piece of durable work
    "webhooks.per_client": 20,
    "webhooks.at_once": 32,  # deliveries under way in one worker
    "webhooks.seconds": 20,  # one attempt
    "webhooks.hold_seconds": 1_800,  # longest rest of a whole endpoint that does not answer
    "webhooks.look_seconds": 1,  # how often a worker looks for new events
    "webhooks.repair_seconds": 300,  # how often it looks for what was lost, and forgets what is old
    "webhooks.fan_out": 500,  # events or deliveries taken in one transaction
    "webhooks.keep_days": 30,  # the delivery log
    "webhooks.overlap_hours": 168,  # longest time that a replaced secret still signs
    "mcp.offices": 20,  # offices in one answer to an assistant
    # requests a minute in one process
    "rate.public_minute": 1_200,  # pages, lists, PKI: from one address
    "rate.check_minute": 120,  # questions by code from one address: an office behind one address must be served
    "rate.check_total_minute": 60_000,  # from all: guessing eighty bits stays hopeless
    "rate.file_minute": 30,  # files from one address
    "rate.file_total_minute": 1_200,
    "rate.token_minute": 60,
    "rate.token_total_minute": 6_000,
    "rate.failed_minute": 120,  # wrong credentials from one address
    "rate.client_minute": 6_000,  # one portal's backend
    "oauth.token_seconds": 600,
    "oauth.assertion_seconds": 300,  # longest life of a client assertion
    "jobs.at_once": 4,  # recovered work must not take all memory at a restart
    "jobs.settle_seconds": 60,  # how long a command waits at its end for work it took over
}
