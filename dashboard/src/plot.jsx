// A plot over time. What it shows last is said beside it, so that nobody has to see the curve.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { lastKnown } from "./series.js";
import { color } from "./theme.js";

const HEIGHT = 140;

const POWERS_OF_TWO = Array.from({ length: 50 }, (_, power) => 2 ** power);

// Seconds are said where the plot is short.
function timesOf(_, times) {
  const isShort = times.at(-1) - times[0] < 300;
  return times.map((time) => new Date(time * 1000).toLocaleTimeString("en-GB").slice(0, isShort ? 8 : 5));
}

function options(width, series, format, isBytes) {
  const [line, text] = [color("line"), color("quiet")];
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui, sans-serif" };
  return {
    width,
    height: HEIGHT,
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    legend: { show: false },
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
        points: { show: false },
      })),
    ],
  };
}

export function Plot({ title, times, series, format, isBytes = false }) {
  const place = useRef();
  const plot = useRef();
  const data = [times, ...series.map(({ values }) => values)];
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const make = () => {
      plot.current?.destroy();
      const width = place.current.clientWidth || 300;
      plot.current = new uPlot(options(width, series, format, isBytes), latest.current, place.current);
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
  useEffect(() => plot.current?.setData(data), [times.at(-1), times.length]);
  return (
    <figure class="plot">
      <figcaption>
        <h3>{title}</h3>
        <ul class="legend">
          {series.map(({ name, tone, values }) => (
            <li key={name}>
              <span class={`swatch ${tone}`} aria-hidden="true" />
              {name} <b>{format(values[lastKnown(values)])}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={place} class="canvas" aria-hidden="true" />
    </figure>
  );
}
