"""Sources: one module a kind, each behind the same small protocol (`protocol.py`)."""
