"""The error that bad input raises."""


class HypermeterError(Exception):
    """Bad input. The message is one line: what is wrong, where, what was expected, what to do."""
