// Margin by layer, accuracy below it, and the numbers of the layer at hand.
function layerChart() {
  const holder = byId("layer-chart");
  const left = 44;
  let x;
  let marks = null;
  const draw = (width) => {
    const right = width - 10;
    const half = (right - left) / data.n_layers / 2;
    x = scale(-0.5, data.n_layers - 0.5, left, right);
    const margin = { top: 30, bottom: width < 500 ? 250 : 310 };
    const accuracy = { top: margin.bottom + 34, bottom: margin.bottom + 124 };
    const drawing = canvas(holder, width, accuracy.bottom + 38);
    const low = Math.min(-0.1, ...data.margin_ci.map((c) => c?.[0] ?? 0));
    const high = Math.max(0.1, ...data.margin_ci.map((c) => c?.[1] ?? 0));
    const pad = 0.06 * (high - low);
    const yMargin = scale(low - pad, high + pad, margin.bottom, margin.top);
    const yAccuracy = scale(0, 1, accuracy.bottom, accuracy.top);
    for (const panel of [margin, accuracy]) phases(drawing, x, panel.top, panel.bottom, half);
    names(drawing, x, half, width);
    yAxis(drawing, yMargin, ticks(low, high, 8), left, (v) => signed(v, 1).replace("+0.0", "0"));
    yAxis(drawing, yAccuracy, [0, 0.5, 1], left, (v) => plain(v, 1));
    svg(drawing, "line", { class: "zero", x1: left, x2: right, y1: yMargin(0), y2: yMargin(0) });
    svg(drawing, "line", { class: "chance", x1: left, x2: right, y1: yAccuracy(data.chance), y2: yAccuracy(data.chance) });
    svg(drawing, "text", { x: left + 8, y: margin.top + 18, class: "strong" }, "mean margin");
    svg(drawing, "text", { x: left + 8, y: accuracy.top + 18, class: "strong" }, "accuracy");
    svg(drawing, "text", { x: left + 72, y: accuracy.top + 18 }, `dashed: chance ${plain(data.chance, 2)}`);
    series(drawing, x, yMargin, data.margin, data.margin_ci, half);
    series(drawing, x, yAccuracy, data.accuracy, data.accuracy_ci, half);
    layerAxis(drawing, x, accuracy.bottom, right - left, true);
    marks = {
      guide: svg(drawing, "line", { class: "guide", y1: margin.top, y2: accuracy.bottom }),
      margin: svg(drawing, "circle", { class: "now", r: 5 }),
      accuracy: svg(drawing, "circle", { class: "now", r: 5 }),
      yMargin,
      yAccuracy,
    };
    place();
  };
  const place = () => {
    const at = x(shared.layer);
    marks.guide.setAttribute("x1", at);
    marks.guide.setAttribute("x2", at);
    for (const [name, y] of [["margin", marks.yMargin], ["accuracy", marks.yAccuracy]]) {
      const value = data[name][shared.layer];
      marks[name].setAttribute("visibility", known(value) ? "visible" : "hidden");
      if (!known(value)) continue;
      marks[name].setAttribute("cx", at);
      marks[name].setAttribute("cy", y(value));
    }
  };
  mount(holder, draw);
  pointing(holder, (pixel) => setLayer(Math.round(x.invert(pixel))));
  const describe = () => {
    const l = shared.layer;
    return `layer ${l}, ${phaseOf(l)}: margin ${signed(data.margin[l])}, accuracy ${plain(data.accuracy[l])}`;
  };
  const say = slider(holder, "Layer", () => shared.layer, setLayer, data.n_layers - 1, describe);
  onLayer(() => {
    place();
    say();
    layerNumbers();
  });
  layerNumbers();
}
function names(drawing, x, half, width) {
  const layer = data.transition.layer;
  if (layer === null) {
    svg(drawing, "text", { x: x(0) - half, y: 18 }, "no transition found");
    return;
  }
  const long = width > 520;
  const silent = `Silent${long ? " Phase" : ""}, ${layer === 1 ? "0" : `0–${layer - 1}`}`;
  const decisive = `Decisive${long ? " Phase" : ""}, ${layer === data.n_layers - 1 ? layer : `${layer}–${data.n_layers - 1}`}`;
  if (layer > 0) svg(drawing, "text", { x: x(0) - half, y: 18 }, silent);
  svg(drawing, "text", { x: x(data.n_layers - 1) + half, y: 18, "text-anchor": "end" }, decisive);
}
function series(drawing, x, y, values, intervals, half) {
  const xs = values.map((_, layer) => x(layer));
  const at = (list) => list.map((v) => (known(v) ? y(v) : null));
  svg(drawing, "path", { class: "band", d: bandPath(xs, at(intervals.map((c) => c?.[0] ?? null)), at(intervals.map((c) => c?.[1] ?? null))) });
  svg(drawing, "path", { class: "line", d: linePath(xs, at(values)) });
  if (half > 4) values.forEach((v, i) => known(v) && svg(drawing, "circle", { class: "dot", cx: xs[i], cy: y(v), r: 2.5 }));
}
function layerNumbers() {
  const l = shared.layer;
  const side = byId("layer-numbers");
  const row = (name, field, value, interval) => {
    const line = html("div", {}, [html("dt", {}, name), html("dd", { "data-field": field }, value)]);
    if (interval && known(interval[0])) html("dd", { class: "interval", "data-field": `${field}_ci` }, interval[2], line);
    return line;
  };
  const between = (ci, format) => (ci ? [ci[0], ci[1], `${format(ci[0])} to ${format(ci[1])}`] : null);
  const phase = l === data.transition.layer ? "Decisive Phase begins" : phaseOf(l);
  side.replaceChildren(
    html("h3", { "data-field": "layer" }, `Layer ${l}`),
    html("p", { class: "note" }, phase),
    html("dl", {}, [
      row("Mean margin", "margin", signed(data.margin[l]), between(data.margin_ci[l], signed)),
      row("Excess margin", "excess_margin", signed(data.excess_margin?.[l])),
      row("Accuracy", "accuracy", plain(data.accuracy[l]), between(data.accuracy_ci[l], plain)),
    ]),
  );
  const frequency = data.option_frequency;
  const shares = frequency?.values[l];
  if (!shares) return;
  const list = html("ul", { class: "bars", "aria-label": "Option Frequency" }, [], side);
  const most = mostFrequent();
  const order = shares.map((share, i) => i);
  if (order.length > 6) order.sort((a, b) => shares[b] - shares[a]);
  for (const i of order.slice(0, 6)) {
    const fill = html("span", { class: "fill" });
    const gold = html("span", { class: "gold", title: "frequency of the right answers" });
    fill.style.width = `${(100 * shares[i]) / most}%`;
    gold.style.left = `calc(${(100 * frequency.gold[i]) / most}% - 1px)`;
    html("li", {}, [
      html("span", { class: "name", title: frequency.options[i] }, frequency.options[i]),
      html("span", { class: "track" }, [fill, gold]),
      html("span", { class: "value", "data-option": i }, plain(shares[i], 2)),
    ], list);
  }
  html("p", { class: "hint" }, order.length > 6 ? "Six most chosen; tick: right answers" : "Share chosen; tick: right answers", side);
}
