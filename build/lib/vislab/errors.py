"""The one error that reaches a user: a sentence that says what is wrong and what to do, exit code 2."""


class UserError(Exception):
    """Wrong input, a missing or damaged file, a device that is not there; the command line prints it without a traceback."""
