"""How every command of ``python -m synchrorama`` reads its arguments."""

from __future__ import annotations

import argparse

from .errors import InputError


class ArgumentParser(argparse.ArgumentParser):
    """Argument errors in one sentence, like all others, instead of the usage and a message."""

    def error(self, message: str) -> None:
        raise InputError(f"{message[0].upper()}{message[1:]}; see {self.prog} --help.")
