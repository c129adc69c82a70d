"""The request's path, one verb per file. No Sanic, no YAML, no SQL in here."""
