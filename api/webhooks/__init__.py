"""Webhooks by Standard Webhooks 1.0.0: endpoints of clients, signing, delivery with its log, replay and dead letters."""
