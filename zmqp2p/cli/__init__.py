"""The command line: ``zmqp2p demo``, ``keygen``, ``record``, ``decode`` and ``recover``.

Only this room imports click and rich, and only once `main` runs: the demo's child processes import
this package too and need neither.
"""


def main() -> None:
    """Run the command that the process's arguments name; exits the process."""
    from zmqp2p.cli.commands import cli  # noqa: PLC0415  # See above.

    cli(prog_name="zmqp2p")
