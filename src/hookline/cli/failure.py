"""How a command ends when it could not do what was asked: a message, the next step, an exit code."""

from typing import Final

EXIT_REFUSED: Final = 1
"""The server, the database or a check said no."""
EXIT_USAGE: Final = 2
"""The command line itself is wrong; the parser of arguments uses the same number."""
EXIT_UNREACHED: Final = 3
"""No server was found, or it did not answer: worth repeating."""


class Failure(Exception):
    """Carry what to tell a person: what happened, and what to do next."""

    def __init__(self, message: str, next_step: str | None = None, exit_code: int = EXIT_REFUSED) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.exit_code = exit_code
