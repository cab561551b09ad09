"""`turnlog stats`: the figures of every measure, by group, as data and on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from projections.caller import RULES as TURNLOG
from turnlog.console import Column, fitted, safe
from turnlog.stats.figures import Figure, figure, format_value, interval, statistic, values_of
from turnlog.stats.metrics import LEAD, MEASURES, METRICS, PERCENTILES, RATES, STATISTICS
from turnlog.stats.table import TurnTable
from turnlog.terminal import plural

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
    """Print a report; of groups, a line each with the main figures."""
    if by is not None:
        console.print(_by_group(console, found, by, rules))
        return
    (group,) = found
    turns, measures, rates = group["turns"], group["measures"], group["rates"]
    counts = f"{plural(group['sessions'], 'session')}, {plural(turns['completed'], 'turn')}, "
    if rules != TURNLOG:
        counts += f"{turns['discarded']:,} discarded"
    else:
        counts += plural(group["voices_of_no_question"], "back-channel or noise", "back-channels and noises")
    console.print(f"{counts}  [dim]rules {safe(rules)}[/]")
    if rules == TURNLOG and turns["completed"]:
        console.print(_lead(console, {name: measures[name] for name in LEAD if name in measures}))
        console.print(_unanswered(rates["unanswered"], group["no_response"]))
        # e2e is the response; a turn is never discarded
        measures = {name: spread for name, spread in measures.items() if name not in (*LEAD, "e2e")}
        rates = {name: rate for name, rate in rates.items() if name not in ("unanswered", "discarded")}
    if measures:
        console.print(_measures(console, measures))
    if turns["completed"] or turns["discarded"]:
        console.print(_rates(console, {name: rate for name, rate in rates.items() if rate["turns"]}))


def _lead(console: Console, measures: dict[str, dict[str, Any]]) -> Table:
    """What the caller waited for."""
    spreads = list(measures.values())
    columns = [Column("in ms", [_TITLES[name] for name in measures])]
    columns += [_statistic(name, spreads, rank) for name, rank in (("p50", 0), ("p95", 0), ("p99", 2))]
    columns += [_interval(spreads, 1), _statistic("max", spreads, 3), _statistic("count", spreads, 4, "turns")]
    return fitted(console, columns)


def _statistic(name: str, spreads: list[dict[str, Any]], rank: int, title: str = "") -> Column:
    return Column(title or name, [format_value(spread.get(name), "") for spread in spreads], right=True, rank=rank)


def _interval(spreads: list[dict[str, Any]], rank: int) -> Column:
    between = [bounds(spread.get("p95_low"), spread.get("p95_high")) for spread in spreads]
    return Column("p95, 95 % interval", between, right=True, rank=rank)


_TITLES = {
    "response": "response",
    "time_to_answer": "time to answer, with a tool",
    "framework_e2e": "the framework's own figure",
}


def _unanswered(rate: dict[str, Any], reasons: dict[str, int]) -> str:
    """The rate of unanswered questions with the reasons; turns that are no question are counted apart."""
    share = f"unanswered: {format_value(rate['rate'], '%')}, {rate['count']:,} of {plural(rate['turns'], 'question')}"
    if rate["low"] is not None:
        share += f" (95 % interval {format_value(rate['low'], '%')} … {format_value(rate['high'], '%')})"
    others = {"no question": "without a question", "still open": "still open"}
    why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items() if reason not in others)
    beside = ", ".join(
        f"{plural(count, 'turn')} {others[reason]}" for reason, count in reasons.items() if reason in others
    )
    return share + (f": {why}" if why else "") + (f"; not counted: {beside}" if beside else "")


_RANKS = {"count": 6, "min": 3, "mean": 1, "p50": 0, "p90": 4, "p95": 0, "p99": 5, "max": 0}
"""Which statistics are left out first on a narrow terminal; 0 stays."""


def _measures(console: Console, measures: dict[str, dict[str, Any]]) -> Table:
    spreads = list(measures.values())
    columns = [Column("measure", list(measures)), Column("unit", [spread["unit"] for spread in spreads])]
    columns += [_statistic(name, spreads, _RANKS[name]) for name in STATISTICS]
    columns += [_interval(spreads, 1), _statistic("sum", spreads, 2)]
    return fitted(console, columns, "percentiles are interpolated linearly; –: too few turns")


def _rates(console: Console, rates: dict[str, dict[str, Any]]) -> Table:
    each = list(rates.values())
    columns = [
        Column("rate", list(rates)),
        Column("%", [format_value(rate["rate"], "") for rate in each], right=True),
        Column("95 % interval", [bounds(rate["low"], rate["high"]) for rate in each], right=True),
        Column("turns", [f"{rate['count']:,}" for rate in each], right=True),
        Column("of", [f"{rate['turns']:,}" for rate in each], right=True),
    ]
    return fitted(console, columns)


def _by_group(console: Console, found: list[dict[str, Any]], by: str, rules: str) -> Table:
    ours = rules == TURNLOG
    lead = "response" if ours else "e2e"
    spreads = [group["measures"].get(lead, {}) for group in found]
    names = {"p50": 0, "p95": 0, "p99": 7} if ours else {"p50": 0, "p90": 6, "p95": 0, "p99": 7}
    rates = {"unanswered": (8, "unanswered")} if ours else {}
    rates |= {"interruption": (5, "interruptions"), "false_interruption": (3, "false")}
    sums = [group["measures"].get("total_tokens", {}).get("sum") for group in found]
    columns = [
        Column(by, [safe(group["group"]) or "(none)" for group in found]),
        Column("turns", [f"{group['turns']['completed']:,}" for group in found], right=True),
        *(_statistic(name, spreads, rank, f"{lead} {name}") for name, rank in names.items()),
        _interval(spreads, 1),
        *(
            Column(title, [format_value(group["rates"][rate]["rate"], "%") for group in found], right=True, rank=rank)
            for rate, (rank, title) in rates.items()
        ),
        Column("tokens", [format_value(tokens, "") for tokens in sums], right=True, rank=2),
    ]
    return fitted(console, columns, f"{lead} in ms; rules {safe(rules)}; all figures of each group: --json")


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
