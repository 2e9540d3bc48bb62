"""Where the program begins: `eventmanager` and `python -m eventmanager`."""

import signal


def main() -> None:
    """Run the command line; until it is loaded, Ctrl-C just ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from eventmanager.cli import app  # noqa: PLC0415  # importing takes most of a second

    signal.signal(signal.SIGINT, signal.default_int_handler)
    app()


if __name__ == "__main__":
    main()
