"""The terminal side. Talks HTTP only, so that it works on the box, from a laptop, and over SSH."""
