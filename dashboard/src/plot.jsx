// A plot over time. Its values are said beside it: the newest, or those at the pointer or where arrow keys have gone; and what all come to, for
// whoever does not see the curve.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { clock } from "./format.js";
import { alone, lastKnown, summaryOf, withGaps } from "./series.js";
import { color } from "./theme.js";

const HEIGHT = 140;
// Samples come every five seconds: where three are missing nothing is drawn.
const GAP_S = 15;
// By how many samples keys move.
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -12, PageUp: 12, Home: -Infinity, End: Infinity };

const POWERS_OF_TWO = Array.from({ length: 50 }, (_, power) => 2 ** power);

// Seconds are said where the plot is short.
function timesOf(_, times) {
  const isShort = times.at(-1) - times[0] < 300;
  return times.map((time) => new Date(time * 1000).toLocaleTimeString("en-GB").slice(0, isShort ? 8 : 5));
}

function options(width, { series, format, isBytes, moved }) {
  const [line, text] = [color("line"), color("quiet")];
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui, sans-serif" };
  return {
    width,
    height: HEIGHT,
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    legend: { show: false },
    hooks: { setCursor: [({ cursor }) => moved(cursor.idx)] },
    scales: { x: { time: true }, y: { range: (_, least, most) => [Math.min(0, least), most > 0 ? most * 1.1 : 1] } },
    axes: [
      { ...axis, values: timesOf, space: 80, size: 28 },
      { ...axis, size: 64, space: 28, values: (_, values) => values.map(format), ...(isBytes && { incrs: POWERS_OF_TWO }) },
    ],
    series: [
      {},
      ...series.map(({ name, tone }) => ({
        label: name,
        stroke: color(tone),
        width: 1.5,
        fill: series.length === 1 ? `${color(tone)}22` : undefined,
        points: { show: false, size: 5, fill: color(tone), filter: ({ data }, number) => alone(data[number]) },
      })),
    ],
  };
}

export function Plot({ title, times, series, format, isBytes = false }) {
  const place = useRef();
  const plot = useRef();
  const shown = useMemo(() => withGaps(times, series.map(({ values }) => values), GAP_S), [times]);
  // Where somebody reads, in seconds; the newest values where nobody does.
  const [readAt, setReadAt] = useState();
  const latest = useRef();
  latest.current = { data: [shown.times, ...shown.columns], moved: (index) => setReadAt(shown.times[index ?? -1]) };
  useEffect(() => {
    const moved = (index) => latest.current.moved(index);
    const make = () => {
      plot.current?.destroy();
      const width = place.current.clientWidth || 300;
      plot.current = new uPlot(options(width, { series, format, isBytes, moved }), latest.current.data, place.current);
    };
    make();
    const resized = new ResizeObserver(() => {
      const width = place.current?.clientWidth;
      if (width && width !== plot.current.width) plot.current.setSize({ width, height: HEIGHT });
    });
    resized.observe(place.current);
    addEventListener("themechange", make);
    return () => {
      removeEventListener("themechange", make);
      resized.disconnect();
      plot.current.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(latest.current.data), [shown]);
  const last = shown.times.length - 1;
  const newest = Math.max(...shown.columns.map((column) => lastKnown(column) ?? -1));
  const found = readAt === undefined ? -1 : shown.times.findIndex((time) => time >= readAt);
  const index = found >= 0 ? found : newest >= 0 ? newest : last;
  const values = series.map(({ name }, number) => [name, format(shown.columns[number][index])]);
  const when = index === last && found < 0 ? "" : clock(shown.times[index] * 1000);
  // The line on the canvas goes along, without telling back which sample is at its pixel: several may be.
  const read = (to) => {
    setReadAt(to === undefined ? undefined : shown.times[to]);
    plot.current.setCursor({ left: to === undefined ? -10 : plot.current.valToPos(shown.times[to], "x"), top: to === undefined ? -10 : 0 }, false);
  };
  const pressed = (event) => {
    const step = STEPS[event.key];
    if (step === undefined && event.key !== "Escape") return;
    event.preventDefault();
    read(step === undefined ? undefined : Math.max(0, Math.min(last, index + step)));
  };
  return (
    <figure class="plot">
      <figcaption>
        <h3>
          {title} {when && <span class="hint">{when}</span>}
        </h3>
        <ul class="legend">
          {series.map(({ name, tone }, number) => (
            <li key={name}>
              <span class={`swatch ${tone}`} aria-hidden="true" />
              {name} <b>{values[number][1]}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <p class="unseen">{series.map(({ name }, number) => summaryWords(name, shown.columns[number], format)).join(" ")}</p>
      <div
        ref={place}
        class="canvas"
        tabIndex={0}
        role="slider"
        aria-label={`${title} over time`}
        aria-valuemin={0}
        aria-valuemax={last}
        aria-valuenow={index}
        aria-valuetext={`${clock(shown.times[index] * 1000)}: ${values.map((value) => value.join(" ")).join(", ")}`}
        onKeyDown={pressed}
        onBlur={() => read(undefined)}
      />
    </figure>
  );
}

function summaryWords(name, column, format) {
  const summary = summaryOf(column);
  return summary ? `${name}: least ${format(summary.least)}, most ${format(summary.most)}, mean ${format(summary.mean)}.` : `${name}: nothing is known.`;
}
