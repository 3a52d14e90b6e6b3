"""``python -m api.cli``: how a parent starts its children."""

from api.cli import main

main()
