"""`turnlog stats`: the figures of every measure, by group, as data and on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from turnlog.stats.figures import Figure, figure, interval, shown, statistic, values_of
from turnlog.stats.metrics import MEASURES, METRICS, PERCENTILES, RATES, STATISTICS
from turnlog.stats.table import TurnTable
from turnlog.terminal import safe

if TYPE_CHECKING:
    from turnlog.stats.table import Choice


def report(table: TurnTable) -> list[dict[str, Any]]:
    """One entry for each group (one in all without grouping): counts, rates in percent, distributions."""
    return [{"group": label, **_group(table, chosen)} for label, chosen in _groups(table)]


def _groups(table: TurnTable) -> list[tuple[str, Choice | None]]:
    return list(table.groups()) if table.by is not None else [("", None)]


def _group(table: TurnTable, chosen: Choice | None) -> dict[str, Any]:
    def of(name: str) -> Figure:
        return figure(table, METRICS[name], chosen)

    rates = {name: of(f"{name}.rate") for name in (*RATES, "discarded")}
    return {
        "sessions": of("sessions.count").value,
        "turns": {"completed": of("turns.completed").value, "discarded": of("turns.discarded").value},
        "rates": {
            name: {"unit": "%", "rate": found.value, "low": found.low, "high": found.high, "turns": found.samples}
            | {"count": of(f"{name}.count").value}
            for name, found in rates.items()
        },
        "measures": _spreads(table, table.completed(table.everything() if chosen is None else chosen)),
    }


def _spreads(table: TurnTable, completed: Choice) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for measure, unit in MEASURES.items():
        values = values_of(table, measure, completed)
        if not len(values):
            continue
        found[measure] = {"unit": unit} | {name: statistic(values, name) for name in STATISTICS}
        found[measure] |= dict(zip(("p95_low", "p95_high"), interval(values, PERCENTILES["p95"]), strict=True))
        if unit == "":
            found[measure]["sum"] = statistic(values, "sum")
    return found


def show(console: Console, found: list[dict[str, Any]], rules: str, by: str | None) -> None:
    """Print a report; of groups, a line each with what is asked for most, and all of it only as data."""
    if by is not None:
        console.print(_by_group(found, by, rules))
        return
    (group,) = found
    turns = group["turns"]
    counts = f"{group['sessions']:,} sessions, {turns['completed']:,} turns, {turns['discarded']:,} discarded"
    console.print(f"{counts}  [dim]rules {safe(rules)}[/]")
    if group["measures"]:
        console.print(_measures(group["measures"]))
    if turns["completed"] or turns["discarded"]:
        console.print(_rates(group["rates"]))


def _measures(measures: dict[str, dict[str, Any]]) -> Table:
    table = Table("measure", "unit")
    for name in (*STATISTICS, "p95, 95 % interval", "sum"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, spread in measures.items():
        cells = [shown(spread[statistic], "") for statistic in STATISTICS]
        between = bounds(spread["p95_low"], spread["p95_high"])
        table.add_row(name, spread["unit"], *cells, between, shown(spread.get("sum"), ""))
    table.caption = "percentiles are linear between the nearest values; – where the turns are too few"
    return table


def _rates(rates: dict[str, dict[str, Any]]) -> Table:
    table = Table("rate", "%", "95 % interval", "turns", "of")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, rate in rates.items():
        between = bounds(rate["low"], rate["high"])
        table.add_row(name, shown(rate["rate"], ""), between, f"{rate['count']:,}", f"{rate['turns']:,}")
    return table


def _by_group(found: list[dict[str, Any]], by: str, rules: str) -> Table:
    table = Table(by, caption=f"e2e in ms; everything of each group: --json; rules {safe(rules)}")
    columns = (
        "turns",
        *(f"e2e {name}" for name in PERCENTILES),
        "p95, 95 % interval",
        "interruptions",
        "false",
        "tokens",
    )
    for name in columns:
        table.add_column(name, justify="right")
    for group in found:
        e2e, tokens = (group["measures"].get(name, {}) for name in ("e2e", "total_tokens"))
        cells = [shown(e2e.get(name), "") for name in PERCENTILES]
        cells.append(bounds(e2e.get("p95_low"), e2e.get("p95_high")))
        cells += [shown(group["rates"][name]["rate"], "%") for name in ("interruption", "false_interruption")]
        cells.append(shown(tokens.get("sum"), ""))
        table.add_row(safe(group["group"]) or "(none)", f"{group['turns']['completed']:,}", *cells)
    return table


def bounds(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{shown(low, '')} … {shown(high, '')}"


def plot(table: TurnTable, measure: str, width: int) -> str:
    """A histogram of the measure for each group; empty if nothing was measured."""
    drawn = []
    for label, chosen in _groups(table):
        values = values_of(table, measure, table.completed(table.everything() if chosen is None else chosen))
        if len(values):
            title = " ".join(part for part in (measure, MEASURES[measure] and f"({MEASURES[measure]})", label) if part)
            drawn.append(_histogram(values.tolist(), title, width))
    return "\n".join(drawn)


def _histogram(values: list[float], title: str, width: int) -> str:
    import plotext

    figure = plotext.figure  # the library has one, and so one is used again and again
    figure.clear()
    figure.plot_size(width, 14)
    figure.title(title)
    figure.draw(figure.hist(values, bins=min(40, len(values))))
    return str(plotext.uncolorize(str(figure.build())))  # its colours take the background for white
