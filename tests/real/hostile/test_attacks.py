"""Each attack for half a second: the honest are heard, and the node stays within its bounds.

How long they wait is not judged here: ``python -m tests.real.hostile`` measures that.
"""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.real.hostile.arena import Arena
from tests.real.hostile.attacker import all_attacks
from tests.real.hostile.attacks import Attack

SECONDS = 0.5


@pytest.mark.parametrize("attack", all_attacks(), ids=lambda attack: attack.name)
def test_the_honest_work_through_it_and_the_node_stays_within_its_bounds(
    attack: Attack, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        outcome = Arena(tmp_path, stack, **attack.victim).attack(attack, SECONDS, per_s=100.0)
    assert outcome.faults(attack) == []
