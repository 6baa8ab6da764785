"""The entry point of the command `tesela`; the commands are in commands.py."""

import sys

from . import DeviceError


def main() -> None:
    """What went wrong by the user's doing is one sentence on stderr, without a traceback."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        print("tesela: the command needs typer and rich; pip install 'tesela[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    from .commands import app

    try:
        app()
    except (DeviceError, ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"tesela: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
