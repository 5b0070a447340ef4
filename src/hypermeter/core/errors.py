"""The error that bad input raises."""


class HypermeterError(Exception):
    """Bad input, said in one line: what, where, what was expected, what to do."""
