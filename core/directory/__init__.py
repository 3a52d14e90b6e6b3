"""Who may act for whom: agencies with validity and successor, people, roles and their authorisations."""
