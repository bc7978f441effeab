"""The two exceptions that the package raises on purpose; everything else that escapes is a bug."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    ``str(error)`` is one sentence that names the problem and the remedy; the command line prints it and exits
    with code 2, the web page shows it as it is. It never holds a path of the server or a traceback.
    """


class Cancelled(Exception):  # noqa: N818 - it reports an outcome, not an error
    """The work stopped because the caller asked for it; nothing half-written is left behind."""
