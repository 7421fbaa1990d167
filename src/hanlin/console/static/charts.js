// Draws what hanlin.console.charts describes: each element with data-chart becomes one ECharts canvas.
"use strict";

const PALETTES = {
  light: ["#2450c8", "#0d9488", "#d9730d", "#8b3fd9", "#c2255c", "#5b6372"],
  dark: ["#7da2ff", "#3cc8b4", "#f5a65b", "#c79bff", "#ff8fb1", "#a5adba"],
};
const theme = document.documentElement.dataset.bsTheme === "dark" ? "dark" : "light";
const palette = PALETTES[theme];
const style = getComputedStyle(document.body);
const ink = style.getPropertyValue("--ink").trim();
const soft = style.getPropertyValue("--ink-soft").trim();
const rule = style.getPropertyValue("--line").trim();
const surface = style.getPropertyValue("--surface").trim();
const font = style.fontFamily;
const drawn = new Map(); // element -> { chart, spec }

const shown = (unit) => (value) => {
  if (value === null || value === undefined || Number.isNaN(value)) return MISSING;
  if (unit === "ratio") return formats.percent(value);
  if (unit === "bytes") return formats.size(value);
  if (typeof value === "number" && value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  const text = +value.toPrecision(6) === Math.round(value) ? Math.round(value).toLocaleString("en-US") : formats.number(value);
  return unit ? `${text} ${unit}` : text;
};
const short = (unit) => (unit === "ratio" ? (value) => `${+(value * 100).toFixed(1)} %` : shown(unit === "/s" ? "" : unit));
const axisText = { color: soft, fontFamily: font, fontSize: 11 };
const clock = (at) => new Date(at).toTimeString().slice(0, 5);

function axis(type, unit, more = {}) {
  return {
    type,
    axisLine: { show: false },
    axisTick: { show: false },
    splitLine: { show: type === "value", lineStyle: { color: rule } },
    axisLabel: { ...axisText, hideOverlap: true, ...(type === "value" ? { formatter: short(unit) } : {}) },
    ...more,
  };
}

function frame(unit, names, more = {}) {
  const hasLegend = names.length > 1;
  return {
    animation: false,
    color: palette,
    textStyle: { fontFamily: font, color: ink },
    grid: { left: 6, right: 14, top: hasLegend ? 34 : 12, bottom: 4, containLabel: true },
    legend: {
      show: hasLegend, top: 0, left: 0, icon: "circle", itemWidth: 8, itemHeight: 8, itemGap: 16,
      textStyle: { color: soft, fontFamily: font, fontSize: 12 }, inactiveColor: rule,
    },
    tooltip: {
      trigger: "axis", renderMode: "richText", confine: true, backgroundColor: surface, borderColor: rule,
      textStyle: { color: ink, fontFamily: font, fontSize: 12 }, valueFormatter: shown(unit),
      axisPointer: { type: "line", lineStyle: { color: soft, type: "dashed" } },
    },
    ...more,
  };
}

function fill(color) {
  return {
    color: {
      type: "linear", x: 0, y: 0, x2: 0, y2: 1,
      colorStops: [{ offset: 0, color: `${color}40` }, { offset: 1, color: `${color}05` }],
    },
  };
}

function lines(spec, isSpark = false) {
  return spec.lines.map((line, index) => ({
    name: line.name,
    type: "line",
    data: spec.kind === "steps" ? line.points : line.points.map(([at, value]) => [at * 1000, value]),
    showSymbol: spec.kind === "steps" && line.points.length < 30,
    symbolSize: 5,
    lineStyle: { width: isSpark ? 1.5 : 2 },
    areaStyle: isSpark || (spec.is_area && index === 0) ? fill(palette[index % palette.length]) : undefined,
    emphasis: { disabled: true },
    connectNulls: true,
  }));
}

const aroundRatios = {
  min: ({ min }) => Math.max(0, Math.floor(min * 50 - 0.25) / 50),
  max: ({ max }) => Math.min(1, Math.ceil(max * 50 + 0.25) / 50),
};
const between = (spec) => ({ min: () => Date.now() - spec.window_s * 1000, max: () => Date.now() });

const draws = {
  time: (spec) => ({
    ...frame(spec.unit, spec.lines.map((line) => line.name)),
    xAxis: axis("time", "", { ...between(spec), axisLabel: { ...axisText, hideOverlap: true, formatter: clock } }),
    yAxis: axis("value", spec.unit, {
      min: 0, splitNumber: 4, ...(spec.unit === "" ? { minInterval: 1 } : {}), ...(spec.unit === "ratio" ? { max: 1, interval: 0.25 } : {}),
    }),
    series: lines(spec),
  }),
  steps: (spec) => ({
    ...frame(spec.unit, spec.lines.map((line) => line.name)),
    xAxis: axis("value", "", { splitLine: { show: false }, max: "dataMax" }),
    yAxis: axis("value", spec.unit, { scale: true, splitNumber: 4, ...(spec.unit === "ratio" ? aroundRatios : {}) }),
    series: lines(spec),
  }),
  spark: (spec) => ({
    ...frame("", [], { grid: { left: 4, right: 4, top: 4, bottom: 2 }, tooltip: { show: false } }),
    xAxis: { type: "time", show: false, min: "dataMin", max: "dataMax" },
    yAxis: { type: "value", show: false, min: 0 },
    series: lines(spec, true),
  }),
  columns: (spec) => ({
    ...frame(spec.unit, []),
    xAxis: axis("category", "", { data: spec.names }),
    yAxis: axis("value", spec.unit, { splitNumber: 4 }),
    series: [{ type: "bar", data: spec.values, barMaxWidth: 46, itemStyle: { borderRadius: [5, 5, 0, 0] } }],
  }),
  stacks: (spec) => ({
    ...frame("", spec.parts.map((part) => part.name)),
    xAxis: axis("value", ""),
    yAxis: axis("category", "", { data: spec.names, inverse: true }),
    series: spec.parts.map((part) => ({
      name: part.name, type: "bar", stack: "all", data: part.values, barMaxWidth: 22,
    })),
  }),
  intervals: (spec) => ({
    ...frame(spec.unit, []),
    tooltip: {
      ...frame(spec.unit, []).tooltip, trigger: "item",
      formatter: ({ dataIndex }) => {
        const [name, low, value, high] = spec.rows[dataIndex];
        return `${name}\n${shown("ratio")(value)}  [${shown("ratio")(low)}, ${shown("ratio")(high)}]`;
      },
    },
    xAxis: axis("value", "ratio", { scale: true, splitNumber: 4 }),
    yAxis: axis("category", "", { data: spec.rows.map((row) => row[0]), inverse: true }),
    series: [
      {
        type: "custom", encode: { x: [1, 2, 3], y: 0 }, z: 1,
        data: spec.rows.map(([, low, value, high], index) => [index, low, value, high]),
        renderItem(params, api) {
          const [left, y] = api.coord([api.value(1), api.value(0)]);
          const [right] = api.coord([api.value(3), api.value(0)]);
          const bar = { stroke: palette[0], lineWidth: 2, opacity: 0.55 };
          const mark = (x) => ({ type: "line", shape: { x1: x, y1: y - 6, x2: x, y2: y + 6 }, style: bar });
          return {
            type: "group",
            children: [
              { type: "line", shape: { x1: left, y1: y, x2: right, y2: y }, style: bar }, mark(left), mark(right),
            ],
          };
        },
      },
      { type: "scatter", symbolSize: 10, z: 2, data: spec.rows.map((row, index) => [row[2], index]) },
    ],
  }),
};

function draw(root) {
  for (const [element, { chart }] of drawn) {
    if (element.isConnected) continue;
    chart.dispose();
    drawn.delete(element);
  }
  for (const element of root.querySelectorAll("[data-chart]")) {
    if (drawn.has(element)) continue;
    const spec = JSON.parse(element.dataset.chart);
    const chart = echarts.init(element);
    chart.setOption(draws[spec.kind](spec));
    drawn.set(element, { chart, spec });
  }
}

function extend({ at, subjects }) {
  for (const { chart, spec } of drawn.values()) {
    if (spec.kind !== "time" && spec.kind !== "spark") continue;
    let hasGrown = false;
    for (const line of spec.lines) {
      const value = line.live && subjects[line.live[0]]?.[line.live[1]];
      if (typeof value !== "number") continue;
      line.points.push([at, value]);
      while (line.points.length && line.points[0][0] < at - spec.window_s) line.points.shift();
      hasGrown = true;
    }
    if (hasGrown) chart.setOption({ series: lines(spec, spec.kind === "spark") });
  }
}

document.addEventListener("hanlin:figures", (event) => extend(event.detail));
document.addEventListener("htmx:load", (event) => draw(event.target));
new ResizeObserver(() => drawn.forEach(({ chart }) => chart.resize())).observe(document.body);
draw(document);
