"""Who runs where: an attacker elsewhere would take no time from the node, nor from an honest peer.

So the node has one core of its own. The attacker shares the others with the honest peer, who goes
first: the attacker has whatever is left, which on a quiet machine is nearly a core, and how much it
was is told with the outcome.
"""

import os

# Low, and not the lowest: on a machine that others use too he would do nothing at all.
ATTACKERS_NICENESS = 10


def give_node_its_core(pid: int) -> None:
    """Let process ``pid``, which has just begun, run on the node's core."""
    _pin(pid, _cores()[:1])


def keep_off_its_core(pid: int) -> None:
    """Let process ``pid``, or with 0 this one, run on the others."""
    _pin(pid, _cores()[1:])


def give_way(pid: int) -> None:
    """Let process ``pid``, which has just begun, run where the node does not, and after others."""
    keep_off_its_core(pid)
    os.setpriority(os.PRIO_PROCESS, pid, ATTACKERS_NICENESS)


def _cores() -> list[int]:
    """Return what cores there are, not only those that this process keeps to by now."""
    return list(range(os.cpu_count() or 1))


def _pin(pid: int, cores: list[int]) -> None:
    """Threads that ``pid`` starts later stay there too. A system without this lets all run free."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cores)
