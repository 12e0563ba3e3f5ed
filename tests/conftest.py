"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Take Ctrl-C, and let our children take it: whoever is started in the background by a script ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
