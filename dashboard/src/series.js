// Values over time: which is the newest, where they are missing, and what they come to.

// The place of the newest value that is known; undefined where none is.
export function lastKnown(values) {
  const at = values.findLastIndex((value) => value !== null && value !== undefined);
  return at < 0 ? undefined : at;
}

// Times in seconds and columns of values, with a place that has no values wherever nothing was taken for more than `longestS`: nobody knows what
// was meanwhile, and a line through it would say so.
export function withGaps(times, columns, longestS) {
  const shown = { times: [], columns: columns.map(() => []) };
  for (const [at, time] of times.entries()) {
    if (at > 0 && time - times[at - 1] > longestS) {
      shown.times.push((times[at - 1] + time) / 2);
      for (const column of shown.columns) column.push(null);
    }
    shown.times.push(time);
    for (const [number, column] of shown.columns.entries()) column.push(columns[number][at] ?? null);
  }
  return shown;
}

// The places of values with none beside them, which no line goes to.
export function alone(values) {
  const isKnown = (at) => values[at] !== null && values[at] !== undefined;
  return [...values.keys()].filter((at) => isKnown(at) && !isKnown(at - 1) && !isKnown(at + 1));
}

// The least, the most and the mean of what is known; undefined where nothing is.
export function summaryOf(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (known.length === 0) return undefined;
  const sum = known.reduce((all, value) => all + value, 0);
  return { least: Math.min(...known), most: Math.max(...known), mean: sum / known.length };
}
