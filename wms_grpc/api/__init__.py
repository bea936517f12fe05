"""The services: each method checks, calls, converts. No rules and no SQL here."""
