// Values over time: which of them is the newest.

// The place of the newest value that is known; undefined where none is.
export function lastKnown(values) {
  const at = values.findLastIndex((value) => value !== null && value !== undefined);
  return at < 0 ? undefined : at;
}
