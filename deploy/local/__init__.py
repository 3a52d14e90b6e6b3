"""What ``deploy/local-up`` runs."""
