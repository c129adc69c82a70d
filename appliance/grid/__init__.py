"""What the YAML means: immutable records, compiled once and swapped whole."""
