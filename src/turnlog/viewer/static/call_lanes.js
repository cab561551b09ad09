// The lanes of the axis: spans of a lane that overlap are in different rows.

const OPEN = 2; // seconds for which a span whose end is not known keeps its row at least
const ROWS = 6; // rows of a lane at most; spans beyond them share the last one

/** The lanes of these names that have spans, each with its rows. Sets the row of each span, and until when it is drawn. Spans are sorted by start. */
export function inRows(names, spans) {
  const lanes = new Map(names.map((name) => [name, { name, lines: [], ends: [] }]));
  for (const span of spans) {
    const lane = lanes.get(span.lane);
    span.until = span.end;
    if (!lane) continue;
    span.row = rowOf(lane, span);
    (lane.lines[span.row] ??= []).push(span);
  }
  for (const lane of lanes.values()) lane.lines.forEach(endOpenSpans);
  return [...lanes.values()].filter((lane) => lane.lines.length);
}

/** The first row that is free, taken by the span. */
function rowOf(lane, span) {
  const free = lane.ends.findIndex((end) => end <= span.start);
  const row = free < 0 ? lane.ends.length : free;
  lane.ends[row] = isOpen(span) ? Math.min(span.end, span.start + OPEN) : span.end;
  return Math.min(row, ROWS - 1);
}

/** Draw a span whose end is not known until the next one in its row. */
function endOpenSpans(line) {
  line.forEach((span, n) => {
    if (isOpen(span) && n + 1 < line.length) span.until = Math.min(span.end, line[n + 1].start);
  });
}

const isOpen = (span) => span.status === "unfinished";
