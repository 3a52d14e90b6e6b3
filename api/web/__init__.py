"""The doors over HTTP: gate, access, problems, and the routers of the public doors. No decisions are made here."""
