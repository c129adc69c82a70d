"""URLs. Thin: who calls, may they, one function, one shape. With server.py the only code that knows Sanic."""
