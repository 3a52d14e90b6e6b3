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
    "activation.documents": 500,
    "signing.piece_bytes": 32 * 1024 * 1024,  # of their documents
    "signing.piece": 25,  # documents of one approval that are signed, stamped and recorded together
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
    "keys.away_seconds": 10,  # how often what waits for a key store is tried again, while the store is sealed or silent
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
    "request.documents": 500,  # of one signature request: what one approval may cover
    "request.steps": 20,  # signatures wanted in one request
    "request.bytes": 1024 * 1024 * 1024,  # all PDFs of one request
    "request.letters": 500,  # of a title, a reason, a refusal
    "request.days": 92,  # longest time until a request's deadline
    "request.lease_seconds": 420,  # one person's time with a revision; an approval given in it may still be spent until activation.seconds
    "request.prepare_seconds": 30,  # a lease while the papers are made ready; kept running by who makes them
    "request.rest_seconds": 60,  # whose time with a revision ran out lets others first, where others were turned away
    "request.provider_seconds": 900,  # how long a provider may take to ask the person in its own app
    "request.remind_seconds": 3_600,  # between two reminders of one signer
    "request.link_days": 7,  # after the deadline: a signer's link still says what became of it, and gives the file
    "request.sweep_seconds": 5,  # how often the signer looks for deadlines, ended leases and work left behind
    "request.create_seconds": 240,  # how long the web process waits while the papers of a new request are looked at
    "log.moment_ms": 200,  # leaves of that time share a checkpoint, where nobody waits for it
    "request.papers_at_once": 2,  # PDFs of one request in the sandbox at a time
    "enter.seconds": 300,  # to answer the question at the signing page's entry
    "pass.seconds": 1_800,  # reading and refusing after that answer; approving asks the passkey again
    "page.refusal_letters": 500,  # a reason for not signing
    "rate.sign_minute": 600,  # answers and refusals at the signing pages from one address: an office stands behind one
    "rate.sign_total_minute": 12_000,
    "rate.enter_minute": 120,  # questions at the entry, each a row
    "provider.wait_seconds": 300,  # how long a person has on the provider's app, where the provider does not say
    "provider.wait_most_seconds": 900,  # longest that a provider may say
    "provider.poll_seconds": 3,  # the first looks at a transaction; later ones are rarer
    "provider.poll_most_seconds": 10,
    "provider.hint_seconds": 2,  # a told transaction is not looked at more often than that
    "provider.lost_seconds": 20,  # a provider that does not know a transaction so long after it was asked never will
    "provider.answer_bytes": 256 * 1024,
    "provider.fresh_hours": 24,  # after that a linked certificate is fetched and checked again before use
    "provider.description_letters": 100,
    "rate.hint_minute": 600,  # hints from one address: providers send from few
    "rate.hint_total_minute": 6_000,
    "decision.hours": 72,  # a proposal that two administrators did not agree to by then is over
    "decision.open": 40,  # of one agency at a time
    "decision.ballot_seconds": 600,  # to answer one's own question about a proposal
    "decision.reason_letters": 500,
    "decision.text_letters": 300,  # one text of a proposal: a name, a number, a line of the wording
    "decision.look_seconds": 60,  # how often proposals whose time ran out are written down as such
    "decision.picture_bytes": 1024 * 1024,  # a seal's picture
    "desk.idle_seconds": 600,  # nobody touches the page: it locks and asks the passkey again
    "desk.session_seconds": 36_000,  # a working day; then log-in again, however busy
    "desk.challenge_seconds": 300,  # to answer a question of log-in, unlock or registration
    "desk.fresh_seconds": 300,  # a further log-in passkey needs one used so lately
    "desk.touch_seconds": 60,  # signs of life are written no more often
    "desk.sessions": 8,  # of one person at a time; the oldest ends
    "desk.passkeys": 10,  # log-in passkeys of one person
    "desk.link_seconds": 900,  # a link from the desk to the signing page
    "desk.reason_letters": 500,
    "rate.desk_minute": 120,  # log-in, unlock and registration from one address: an office stands behind one
    "rate.desk_total_minute": 6_000,
    "rate.known_minute": 120,  # of one link or session that is really there, where strangers have filled a total
    "rate.picture_minute": 6_000,  # pages of scans at the desk: forty for one paper, an office behind one address
    "rate.picture_total_minute": 60_000,
    "paper.bytes": 64 * 1024 * 1024,  # one PDF that a portal gives to be signed
    "paper.pages": 300,
    "pades.validation_objects": 200,  # certificates, OCSP responses and CRLs in one file
    "pades.catalog_bytes": 64 * 1024,  # of a paper's catalog, kept from the opening of a step until its signature
    "paper.text_letters": 100_000,  # of one page
    "paper.cache_bytes": 64 * 1024 * 1024,  # pictures of pages that a signer process keeps
    "paper.drawing": 2,  # papers being drawn at a time
    "paper.batch": 4,  # pages drawn in one go, so that a large paper goes into the sandbox less often
    "paper.ahead": 2,  # pages drawn before they are asked for
    # enrolment
    "identity.flow_seconds": 900,  # a log-in that went out to a provider and did not come back
    "identity.token_seconds": 600,  # oldest ID token that is taken
    "identity.discovery_seconds": 3_600,  # a provider's metadata and keys are asked for again
    "identity.keys_seconds": 60,  # an unknown key makes us ask for keys again, not more often than that
    "enrol.run_seconds": 1_800,  # a page of enrolment, from identity to passkey
    "enrol.challenge_seconds": 300,
    "enrol.codes": 5,  # codes sent for one word of a portal
    "enrol.code_tries": 5,  # guesses at one code
    "enrol.codes_day": 10,  # codes sent for one person in 24 hours, and guesses at them, whatever portals say
    "enrol.code_seconds": 600,
    "enrol.code_rest_seconds": 30,  # between two codes
    "enrol.ticket_seconds": 1_800,  # to register a log-in passkey at the desk
    "messenger.seconds": 15,  # a mail relay's answer
    "messenger.rest_seconds": 30,  # before a letter is tried again; doubled each time
    "messenger.tries": 10,
    "rate.training_minute": 60,  # practice begun or gone on with from one address: a village's class stands behind one
    "rate.training_total_minute": 300,  # from all: each makes a person, a paper and a request
    "demo.openbao_seconds": 30,  # how long a demo's own OpenBao may take to start, or to end
    "training.days": 7,  # how long a practice's paper waits
    # keys in OpenBao or Vault
    "transit.batch": 100,  # signatures asked for in one call: never over 200 (the server takes 1 000 strings of JSON, four an item); the next are made while these are verified
    "transit.rsa_batch": 50,  # an RSA-3072 signature takes the server some milliseconds, and a call has a deadline
    "transit.batch_bytes": 4 * 1024 * 1024,  # messages in one call (Ed25519 signs the message itself)
    "transit.message_bytes": 768
    * 1024,  # one such message: in base64 the longest string that Vault takes; signed attributes have some hundred bytes
    "transit.calls": 8,  # under way at a time in one process: as vault.threads, for who waits there waits against the clock
    "transit.key_calls": 4,  # of one key, where more than a full call waits
    "transit.waiting": 20_000,  # signatures of one process that wait for their call
    # how keys may be used, where two administrators decided nothing else for a key (signer/keystores/rules.py)
    "budget.document": 2_000,  # signatures of one person in a day: four of the largest approvals
    "budget.seal": 20_000,  # of one agency's seal in a day
    "pace.document": 1_200,  # uses of one key in a minute, by purpose
    "pace.seal": 6_000,
    "pace.qr": 6_000,
    "pace.log": 6_000,
    "pace.tsa": 12_000,
    "pace.ocsp": 12_000,
    "pace.list": 6_000,
    "pace.ca": 6_000,
    "pace.report": 1_200,
    "keys.rule_most": 1_000_000,  # the largest number that a decision may set
    "keys.fresh_ms": 1_000,  # a state of a key that was read so long ago is read again before a use
    "keys.destroy_days": 30,  # between a key's end and its destruction
    "keys.import_hours": 72,  # a decided import that was not made by then is over
    "keys.overlap_seconds": 3600,  # a key that was followed by another still signs what was opened with it before
    "keys.switch_days": 90,  # how far ahead a switch to a new key may lie
    "keys.end_days": 60,  # a certificate that ends sooner is warned of
    "keys.doctor_seconds": 120,  # how long `dauso doctor keys` waits for the signer to look at every key
    "keys.cache": 4_096,  # keys that one transit mount keeps open; more are read from storage when they are used
    "keys.wrap_hours": 24,  # how long a wrapped secret id waits to be unwrapped
    "keys.token_minutes": 60,  # a token of the service, renewed while it runs
    "keys.short_minutes": 15,  # an identity that exists for one decision
    "keys.look_seconds": 5,  # how often a signer looks for what is to be done in a store
    "keys.settle_seconds": 300,  # who has spent an approval before a key's end may finish with it for so long
    "keys.try_seconds": 60,  # one act in a store; another process takes it over after that
    "keys.retry_most_seconds": 3_600,  # rest between two tries at a store that does not answer
    "vault.threads": 8,  # calls to OpenBao or Vault at a time in one process, each with a connection of its own
    "vault.waiting": 512,  # calls that may wait for one of them; beyond, the caller is told at once
    "vault.answer_bytes": 8 * 1024 * 1024,  # one answer
    "vault.idle_seconds": 60,  # an older connection is not used again: something between may have forgotten it
    "vault.breaker_failures": 5,  # in a row, and calls are refused without being sent
    "vault.breaker_ms": 2_000,  # between two tries while that lasts
    "vault.pause_ms": 80,  # before a call is repeated, with jitter; doubled each time
    "vault.login_rest_seconds": 5,  # after a refused login, before the next
    "vault.denied_rest_seconds": 30,  # after a new login that did not help: a living token is not replaced
    "vault.retry_seconds": 5,  # between two tries to renew a token or log in at a store that does not answer
    "pkcs11.queue": 64,  # calls that wait for a worker; beyond, the caller is told at once
    "pkcs11.wait_seconds": 10,  # longest wait there; nothing was sent then
    "pkcs11.call_seconds": 10,  # a worker that takes longer is ended, and the outcome of its call is unknown
    "pkcs11.create_seconds": 90,  # the same for a new key: RSA on a card
    "pkcs11.open_seconds": 20,  # until a new worker has loaded the module and logged in
    "pkcs11.stop_seconds": 5,  # a worker's last call at a stop
    "pkcs11.batch": 25,  # digests in one message to a worker: a batch is spread over all of them
    "pkcs11.record_seconds": 30,  # how long a worker believes what it read of a key; another host may have disabled it
    "pkcs11.unwrapped": 64,  # people's keys that one worker keeps unwrapped in its session
    # key use against its causes
    "keyuse.flush_ms": 1_000,  # service keys' uses of that time are written in one go
    "keyuse.most": 100,  # uses that may wait for that, and so be lost in a crash
    "keyuse.hold_seconds": 5,  # service keys are not used any more when the book could not be written for so long
    "keyuse.input_bytes": 4_096,  # a message (Ed25519) that a booked key may sign: it is kept
    "keyuse.horizon_seconds": 120,  # from writing a cause down to the key store's audit line, the clocks' difference included
    "keyuse.settle_seconds": 30,  # younger lines and causes are left to the next run
    "keyuse.intent_days": 7,  # an intent that came to nothing is remembered so long
    "keyuse.order_days": 31,  # orders looked through for one that a call without intent may belong to
    "keyuse.hash_at_once": 8,  # questions to sys/audit-hash under way
    "keyuse.hash_kept": 50_000,  # answers kept
    "keyuse.open_requests": 10_000,  # requests of an audit file that wait for their response
    "keyuse.seen_requests": 100_000,  # ids remembered, since a forwarded request stands twice
    "keyuse.part_bytes": 256 * 1024 * 1024,  # a long run is saved each time it has read so much
    "keyuse.findings": 1_000,  # different ones in one run; more are counted by their code
    "keyuse.requests_named": 5,  # request ids in one finding
    "keyuse.overdue_hours": 48,  # administrators are told when a reconciliation that has run before has not come so far for so long
    "keyuse.tell_seconds": 60,  # new critical findings are looked for, to write to administrators
    "keyuse.versions": 20,  # of one key, tried where an answer does not tell which was used
    "keyuse.late_seconds": 600,  # what could be compared may end so long before now; beyond, nothing is proven
    "keyuse.silent_hours": 30,  # a server's audit file may stay without a new line so long
    "keyuse.socket_lines": 1_000,  # lines of a socket device written together
    "keyuse.socket_ms": 200,  # or those of that time
}
