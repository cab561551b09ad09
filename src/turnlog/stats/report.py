"""`turnlog stats`: the figures of every measure, by group, as data and on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from projections.caller import RULES as TURNLOG
from turnlog.stats.figures import Figure, figure, format_value, interval, statistic, values_of
from turnlog.stats.metrics import LEAD, MEASURES, METRICS, PERCENTILES, RATES, STATISTICS
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
    completed = table.completed(table.all_turns() if chosen is None else chosen)
    found: dict[str, Any] = {
        "sessions": of("sessions.count").value,
        "turns": {"completed": of("turns.completed").value, "discarded": of("turns.discarded").value},
        "rates": {
            name: {"unit": "%", "rate": found.value, "low": found.low, "high": found.high, "turns": found.samples}
            | {"count": of(f"{name}.count").value}
            for name, found in rates.items()
        },
        "no_response": table.reasons(completed),
        "measures": _spreads(table, completed),
    }
    if table.by in (None, "session"):  # other groups cut through sessions
        found["voices_of_no_question"] = table.voices_of(chosen)
    return found


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


def show_report(console: Console, found: list[dict[str, Any]], rules: str, by: str | None) -> None:
    """Print a report; of groups, a line each with what is asked for most, and all of it only as data."""
    if by is not None:
        console.print(_by_group(found, by, rules))
        return
    (group,) = found
    turns, measures, rates = group["turns"], group["measures"], group["rates"]
    counts = f"{group['sessions']:,} sessions, {turns['completed']:,} turns, "
    if rules != TURNLOG:
        counts += f"{turns['discarded']:,} discarded"
    else:
        counts += f"{group['voices_of_no_question']:,} voices of no question"
    console.print(f"{counts}  [dim]rules {safe(rules)}[/]")
    if rules == TURNLOG and turns["completed"]:
        console.print(_lead({name: measures[name] for name in LEAD if name in measures}))
        console.print(_unanswered(rates["unanswered"], group["no_response"]))
        # e2e is the response; a turn is never discarded
        measures = {name: spread for name, spread in measures.items() if name not in (*LEAD, "e2e")}
        rates = {name: rate for name, rate in rates.items() if name not in ("unanswered", "discarded")}
    if measures:
        console.print(_measures(measures))
    if turns["completed"] or turns["discarded"]:
        console.print(_rates({name: rate for name, rate in rates.items() if rate["turns"]}))


def _lead(measures: dict[str, dict[str, Any]]) -> Table:
    """What the caller waited for."""
    names = ("p50", "p95", "p99")
    table = Table("in ms", *names, "p95, 95 % interval", "max", "turns")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, spread in measures.items():
        cells = [format_value(spread[statistic], "") for statistic in names]
        between = bounds(spread["p95_low"], spread["p95_high"])
        table.add_row(
            _TITLES[name], *cells, between, format_value(spread["max"], ""), format_value(spread["count"], "")
        )
    return table


_TITLES = {
    "response": "response",
    "time_to_answer": "time to answer, with a tool",
    "framework_e2e": "the framework's own figure",
}


def _unanswered(rate: dict[str, Any], reasons: dict[str, int]) -> str:
    """The rate of unanswered turns, and why there was no response; what was no question apart."""
    share = f"unanswered: {format_value(rate['rate'], '%')}, {rate['count']:,} of {rate['turns']:,} questions"
    if rate["low"] is not None:
        share += f" (95 % interval {format_value(rate['low'], '%')} … {format_value(rate['high'], '%')})"
    others = {"no question": "turns without a question", "still open": "turns still open"}
    why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items() if reason not in others)
    beside = ", ".join(f"{count:,} {others[reason]}" for reason, count in reasons.items() if reason in others)
    return share + (f": {why}" if why else "") + (f"; beside them {beside}" if beside else "")


def _measures(measures: dict[str, dict[str, Any]]) -> Table:
    table = Table("measure", "unit")
    for name in (*STATISTICS, "p95, 95 % interval", "sum"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, spread in measures.items():
        cells = [format_value(spread[statistic], "") for statistic in STATISTICS]
        between = bounds(spread["p95_low"], spread["p95_high"])
        table.add_row(name, spread["unit"], *cells, between, format_value(spread.get("sum"), ""))
    table.caption = "percentiles are linear between the nearest values; – where the turns are too few"
    return table


def _rates(rates: dict[str, dict[str, Any]]) -> Table:
    table = Table("rate", "%", "95 % interval", "turns", "of")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, rate in rates.items():
        between = bounds(rate["low"], rate["high"])
        table.add_row(name, format_value(rate["rate"], ""), between, f"{rate['count']:,}", f"{rate['turns']:,}")
    return table


def _by_group(found: list[dict[str, Any]], by: str, rules: str) -> Table:
    lead = "response" if rules == TURNLOG else "e2e"
    table = Table(by, caption=f"{lead} in ms; everything of each group: --json; rules {safe(rules)}")
    rates = ("unanswered",) if rules == TURNLOG else ()
    names = ("p50", "p95", "p99") if rules == TURNLOG else tuple(PERCENTILES)
    columns = (
        "turns",
        *(f"{lead} {name}" for name in names),
        "p95, 95 % interval",
        *rates,
        "interruptions",
        "false",
        "tokens",
    )
    for name in columns:
        table.add_column(name, justify="right")
    for group in found:
        waited, tokens = (group["measures"].get(name, {}) for name in (lead, "total_tokens"))
        cells = [format_value(waited.get(name), "") for name in names]
        cells.append(bounds(waited.get("p95_low"), waited.get("p95_high")))
        cells += [
            format_value(group["rates"][name]["rate"], "%") for name in (*rates, "interruption", "false_interruption")
        ]
        cells.append(format_value(tokens.get("sum"), ""))
        table.add_row(safe(group["group"]) or "(none)", f"{group['turns']['completed']:,}", *cells)
    return table


def bounds(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{format_value(low, '')} … {format_value(high, '')}"


def plot(table: TurnTable, measure: str, width: int) -> str:
    """A histogram of the measure for each group; empty if nothing was measured."""
    drawn = []
    for label, chosen in _groups(table):
        values = values_of(table, measure, table.completed(table.all_turns() if chosen is None else chosen))
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
