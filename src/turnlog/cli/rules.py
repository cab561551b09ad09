"""``turnlog rules``: the rule sets, and what makes them differ."""

from __future__ import annotations

from rich.table import Table

from projections.rules import RULE_SETS, SWITCHES
from turnlog.cli.common import JsonOption, output, print_json
from turnlog.terminal import safe


def rules(as_json: JsonOption = False) -> None:
    """List the switches, why each is there, and the rule sets that have it; --rules SET+SWITCH puts one on."""
    if as_json:
        print_json(
            [{"switch": switch, "reason": reason, "rules": _sets(switch)} for switch, reason in SWITCHES.items()]
        )
        return
    table = Table()
    table.add_column("switch", no_wrap=True)
    table.add_column("on since", no_wrap=True)
    table.add_column("why")
    for switch, reason in SWITCHES.items():
        table.add_row(switch, _sets(switch)[0], safe(reason))
    console = output()
    console.print(f"rule sets: {', '.join(RULE_SETS)}; in the first, the default, every switch is off")
    console.print(table)


def _sets(switch: str) -> list[str]:
    """The rule sets that have it; those of releases stand in their order, and what one has the next ones have."""
    return [name for name, rules in RULE_SETS.items() if getattr(rules, switch)]


def markdown() -> str:
    """The table of ``docs/rules.md``."""
    rows = [["switch", *(f"`{name}`" for name in RULE_SETS), "why"], ["---", *([":-:"] * len(RULE_SETS)), "---"]]
    for switch, reason in SWITCHES.items():
        rows.append([f"`{switch}`", *("×" if name in _sets(switch) else "" for name in RULE_SETS), reason])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
