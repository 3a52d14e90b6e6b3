"""The desk: pages for the certifying official, the clerk and the administrator, on the web origin."""
