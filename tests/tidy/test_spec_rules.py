"""The rules of the spec, the code and the tests name the same things.

A rule is an id such as ``SEQ-1``. The spec defines it where the id opens a list item, a table row
or a heading, or is set in bold; every other mention is a citation.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "docs" / "spec" / "zp2p-1.md"
FOREIGN = {"ADR", "AES", "BCP", "BIP", "EIP", "ERC", "IEEE", "ISO", "RFC", "SHA", "UTF"}

RULE = re.compile(r"(?<![\w-])([A-Z]{2,5})-([1-9][0-9]*)(?![\w-])")
DEFINITION = re.compile(
    r"""^ (?: \s*[-*]\s+ | \|\s* | \#+\s+ | (?=\*\*) )   # An item, a row, a heading, or bold text
        (?: <a[ ][^>]*></a> )? [*`]*                     # with an anchor and marks before the id.
        ([A-Z]{2,5}-[1-9][0-9]*) (?![\w-])""",
    re.MULTILINE | re.VERBOSE,
)


def cited(text: str) -> set[str]:
    """Return the rule ids in ``text``; a range such as ``ENC-1 to ENC-6`` cites all of it."""
    found = {f"{kind}-{number}" for kind, number in RULE.findall(text) if kind not in FOREIGN}
    for kind, first, last in re.findall(r"\b([A-Z]{2,5})-(\d+) to \1-(\d+)\b", text):
        found |= {f"{kind}-{number}" for number in range(int(first), int(last) + 1)}
    return found


def defined(text: str) -> list[str]:
    """Return the rule ids that ``text`` defines, in order."""
    return [rule for rule in DEFINITION.findall(text) if rule.split("-")[0] not in FOREIGN]


def cited_in(files: Iterable[Path]) -> set[str]:
    """Return the rule ids in ``files``."""
    return {rule for file in files for rule in cited(file.read_text(encoding="utf-8"))}


def test_the_spec_defines_each_rule_once() -> None:
    rules = defined(SPEC.read_text(encoding="utf-8"))
    assert rules, "no rule found: each is to open a list item, a table row or a heading"
    assert [rule for rule, times in Counter(rules).items() if times > 1] == []


def test_the_spec_defines_each_rule_that_it_cites() -> None:
    text = SPEC.read_text(encoding="utf-8")
    assert sorted(cited(text) - set(defined(text))) == []


def test_each_rule_in_the_code_is_in_the_spec() -> None:
    rules = set(defined(SPEC.read_text(encoding="utf-8")))
    assert sorted(cited_in((ROOT / "zmqp2p").rglob("*.py")) - rules) == []


def test_each_rule_of_the_spec_is_cited_by_a_test() -> None:
    """An id that no test cites is a promise that nothing keeps."""
    files = [
        file
        for pattern in ("*.py", "*.json")
        for file in (ROOT / "tests").rglob(pattern)
        if "tidy" not in file.parts
    ]
    rules = set(defined(SPEC.read_text(encoding="utf-8")))
    assert sorted(rules - cited_in(files)) == []


def test_ids_are_told_from_other_names() -> None:
    text = "By SEQ-1, `ACK-12` and (ENC-1 to ENC-3); not UTF-8, EIP-55, ADR-0011, X-1, GAP-1-b."
    assert cited(text) == {"SEQ-1", "ACK-12", "ENC-1", "ENC-2", "ENC-3"}


def test_definitions_are_told_from_citations() -> None:
    text = """
- **SEQ-1** A sender MUST begin with 1 (see ACK-9).
* SEQ-2: and so on.
| ACK-1 | each ack is cumulative, as SEQ-9 says |
|`ACK-2`| too |
### REC-1
**REC-2** MUST hold.
- <a id="rec-3"></a>**REC-3** too.
As BYE-1 says,
BYE-2 says more. UTF-8 is meant.
- UTF-8 is meant here too.
"""
    assert defined(text) == ["SEQ-1", "SEQ-2", "ACK-1", "ACK-2", "REC-1", "REC-2", "REC-3"]
