// Accuracy against blocks removed: a line for each strategy, a band for random draws.
const MARKS = {
  circle: "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z",
  square: "M-3 -3H3V3H-3Z",
  up: "M0 -4L4 3H-4Z",
  down: "M0 4L4 -3H-4Z",
  diamond: "M0 -4.2L4.2 0L0 4.2L-4.2 0Z",
  cross: "M-3 -3L3 3M-3 3L3 -3",
};
function seriesGroup(parent, curve) {
  const group = svg(parent, "g", { class: "series" });
  group.style.setProperty("--series-light", curve.light);
  group.style.setProperty("--series-dark", curve.dark);
  return group;
}
function pruningChart() {
  const holder = byId("pruning-chart");
  if (!holder || !data.curves.length) return;
  const most = Math.max(...data.curves.flatMap((curve) => curve.removed));
  const lines = data.curves.filter((curve) => curve.draws === 1);
  let count = most;
  let x;
  let guide = null;
  let focus = null;
  const draw = (width) => {
    const left = 40;
    const right = width - 14;
    const top = 12;
    const bottom = width < 500 ? 270 : 340;
    const drawing = canvas(holder, width, bottom + 40);
    x = scale(-0.25, most + 0.25, left, right);
    const y = scale(0, 1, bottom, top);
    yAxis(drawing, y, ticks(0, 1, 5), left, (v) => plain(v, 1));
    for (const value of ticks(0, 1, 5)) svg(drawing, "line", { class: "axis", x1: left, x2: right, y1: y(value), y2: y(value) });
    const every = Math.max(1, Math.ceil((most * 24) / (right - left)));
    for (let n = 0; n <= most; n += every) svg(drawing, "text", { x: x(n), y: bottom + 17, "text-anchor": "middle" }, String(n));
    svg(drawing, "text", { x: right, y: bottom + 35, "text-anchor": "end" }, `${data.unit}s removed`);
    svg(drawing, "line", { class: "chance", x1: left, x2: right, y1: y(data.chance), y2: y(data.chance) });
    svg(drawing, "text", { x: left + 4, y: y(data.chance) - 5 }, `chance ${plain(data.chance, 2)}`);
    guide = svg(drawing, "line", { class: "guide", y1: top, y2: bottom });
    const width1 = x(1) - x(0);
    for (const curve of [...data.curves].sort((a, b) => b.draws - a.draws)) {
      const shift = curve.draws > 1 ? 0 : (lines.indexOf(curve) - (lines.length - 1) / 2) * Math.min(5, width1 / 9);
      drawCurve(drawing, curve, x, y, shift).classList.toggle("faded", focus !== null && focus !== curve.name);
    }
    place();
  };
  const place = () => {
    guide.setAttribute("x1", x(count));
    guide.setAttribute("x2", x(count));
  };
  const again = mount(holder, draw);
  const describe = () => `${count} ${data.unit}s removed: ${data.curves.map((c) => `${c.label} ${plain(at(c, count)?.accuracy)}`).join(", ")}`;
  const set = (value) => {
    count = value;
    place();
    say();
    pruningNumbers(count);
  };
  const say = slider(holder, `${data.unit === "block" ? "Blocks" : "Units"} removed`, () => count, set, most, describe);
  pointing(holder, (pixel) => set(Math.max(0, Math.min(most, Math.round(x.invert(pixel))))));
  for (const curve of data.curves) legendItem(curve, (name) => {
    focus = name;
    again();
  });
  pruningNumbers(count);
}
function drawCurve(drawing, curve, x, y, shift) {
  const group = seriesGroup(drawing, curve);
  const xs = curve.removed.map((n) => x(n) + shift);
  const at = (list) => list.map((v) => (known(v) ? y(v) : null));
  const [low, high, middle] = [at(curve.low), at(curve.high), at(curve.accuracy)];
  const dash = curve.dash.length ? curve.dash.join(" ") : null;
  if (curve.draws > 1) svg(group, "path", { class: "range", d: bandPath(xs, low, high) });
  else xs.forEach((at0, i) => low[i] !== null && svg(group, "line", { class: "whisker", x1: at0, x2: at0, y1: low[i], y2: high[i] }));
  svg(group, "path", { class: "stroke", d: linePath(xs, middle), "stroke-dasharray": dash });
  xs.forEach((at0, i) => middle[i] !== null && svg(group, "path", { class: `mark${curve.marker === "cross" ? " open" : ""}`, d: MARKS[curve.marker], transform: `translate(${at0} ${middle[i]})` }));
  return group;
}
const curveName = (curve) => (curve.draws > 1 ? `${curve.label}, ${curve.draws} draws` : curve.label);
function sample(parent, curve) {
  const drawing = svg(parent, "svg", { viewBox: "0 0 30 12", "aria-hidden": "true" });
  const group = seriesGroup(drawing, curve);
  if (curve.draws > 1) svg(group, "rect", { class: "range", x: 0, y: 0, width: 30, height: 12 });
  svg(group, "path", { class: "stroke", d: "M0 6H30", "stroke-dasharray": curve.dash.length ? curve.dash.join(" ") : null });
  svg(group, "path", { class: `mark${curve.marker === "cross" ? " open" : ""}`, d: MARKS[curve.marker], transform: "translate(15 6)" });
}
function legendItem(curve, highlight) {
  const item = html("li", {}, [], byId("pruning-legend"));
  sample(item, curve);
  html("span", { class: "name" }, curveName(curve), item);
  item.addEventListener("pointerenter", () => highlight(curve.name));
  item.addEventListener("pointerleave", () => highlight(null));
}
function at(curve, count) {
  const i = curve.removed.indexOf(count);
  return i < 0 ? null : { accuracy: curve.accuracy[i], low: curve.low[i], high: curve.high[i] };
}
function pruningNumbers(count) {
  const side = byId("pruning-numbers");
  const found = data.curves.map((curve) => [curve, at(curve, count)]).filter(([, point]) => point && known(point.accuracy));
  found.sort((a, b) => b[1].accuracy - a[1].accuracy);
  side.replaceChildren(
    html("h3", { "data-field": "count" }, count === 0 ? "Intact" : `${count} ${data.unit}${count === 1 ? "" : "s"} removed`),
    html("p", { class: "note" }, "accuracy, highest first"),
    html("dl", {}, found.map(([curve, point]) => {
      const line = html("div", {}, [html("dt", {}, curveName(curve)), html("dd", { "data-strategy": curve.name }, plain(point.accuracy))]);
      if (known(point.low)) html("dd", { class: "interval" }, `${plain(point.low, 2)} to ${plain(point.high, 2)}`, line);
      return line;
    })),
  );
}
