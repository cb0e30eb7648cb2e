"""The process that fuzzes one target: libFuzzer owns it, and ends it."""

import sys

import atheris

with atheris.instrument_imports(include=["zmqp2p"]):  # Before anything else imports it.
    from tests.fuzz.targets import TARGETS


def main(name: str, options: list[str]) -> None:
    """Fuzz the target ``name``; does not return."""
    atheris.Setup([sys.argv[0], *options], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
