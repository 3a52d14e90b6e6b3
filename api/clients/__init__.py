"""Portals' backends that may call us: API keys, OAuth 2 client credentials, scopes and agencies."""
