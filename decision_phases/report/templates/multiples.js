// Option Frequency within categories: two means by layer, and a small heat map for each category.
function frequencyMean() {
  const holder = byId("frequency-mean");
  const frequencies = data.frequencies;
  if (!holder || !frequencies) return;
  const left = 44;
  let x;
  let guide = null;
  const draw = (width) => {
    const right = width - 10;
    const top = 46;
    const bottom = top + (width < 500 ? 150 : 190);
    const half = (right - left) / data.n_layers / 2;
    x = scale(-0.5, data.n_layers - 0.5, left, right);
    const y = scale(0, 1, bottom, top);
    const drawing = canvas(holder, width, bottom + 38);
    phases(drawing, x, top, bottom, half);
    svg(drawing, "text", { x: left, y: 14, class: "first" }, width < 500 ? "● entropy (dotted: of the right answers)" : "● entropy of the choices (dotted: of the right answers)");
    svg(drawing, "text", { x: left, y: 32, class: "second" }, "– – distance from the right answers");
    yAxis(drawing, y, [0, 0.5, 1], left, (v) => plain(v, 1));
    const xs = data.layers.map((layer) => x(layer));
    const at = (values) => values.map((v) => (known(v) ? y(v) : null));
    const level = y(frequencies.gold_entropy);
    svg(drawing, "path", { class: "line level", d: `M${left} ${level}H${right}` });
    svg(drawing, "path", { class: "line second", d: linePath(xs, at(frequencies.distance)) });
    svg(drawing, "path", { class: "line", d: linePath(xs, at(frequencies.entropy)) });
    if (half > 4) frequencies.entropy.forEach((v, i) => known(v) && svg(drawing, "circle", { class: "dot", cx: xs[i], cy: y(v), r: 2.5 }));
    layerAxis(drawing, x, bottom, right - left, true);
    guide = svg(drawing, "line", { class: "guide", y1: top, y2: bottom });
    place();
  };
  const place = () => {
    guide.setAttribute("x1", x(shared.layer));
    guide.setAttribute("x2", x(shared.layer));
  };
  const reading = byId("frequency-mean-reading");
  const read = () => {
    const l = shared.layer;
    const what = known(frequencies.entropy[l]) ? `mean entropy ${plain(frequencies.entropy[l], 2)}, mean distance ${plain(frequencies.distance[l], 2)}` : "removed";
    reading.textContent = `Layer ${l}, ${phaseOf(l)}: ${what}`;
  };
  mount(holder, draw);
  pointing(holder, (pixel) => setLayer(Math.round(x.invert(pixel))));
  read();
  const say = slider(holder, "Layer", () => shared.layer, setLayer, data.n_layers - 1, () => reading.textContent);
  onLayer(() => {
    place();
    read();
    say();
  });
}
function frequencyMultiples() {
  const parent = byId("frequency-multiples");
  if (!parent || !data.frequencies) return;
  for (const category of data.frequencies.categories) {
    const block = html("div", { "data-category": category.name }, [], parent);
    html("p", { class: "title" }, category.title, block);
    const holder = html("div", { class: "chart" }, [], block);
    const reading = html("p", { class: "reading" }, [], block);
    frequencyMultiple(category, holder, reading);
  }
}
function frequencyMultiple(category, holder, reading) {
  let x;
  let guide = null;
  const draw = (width) => {
    const left = 88;
    const gold = 18;
    const right = width - gold - 8;
    const height = Math.max(10, Math.min(17, 150 / category.options.length));
    const top = 14;
    const bottom = top + height * category.options.length;
    const cell = (right - left) / data.n_layers;
    x = scale(-0.5, data.n_layers - 0.5, left, right);
    const drawing = canvas(holder, width, bottom + 20, `Heat map of the choices of each layer in ${category.title}`);
    category.options.forEach((name, i) => {
      const y = top + i * height;
      svg(drawing, "text", { x: left - 6, y: y + height / 2 + 4, "text-anchor": "end" }, short(name, 11));
      category.values.forEach((row, layer) => square(drawing, left + layer * cell, y, cell, height, known(row[i]) ? tone(row[i]) : "none"));
      square(drawing, width - gold, y, gold, height, tone(category.gold[i]));
    });
    svg(drawing, "text", { x: width, y: 10, "text-anchor": "end" }, "right");
    if (data.transition.layer !== null) {
      const edge = x(data.transition.layer - 0.5);
      svg(drawing, "line", { class: "boundary", x1: edge, x2: edge, y1: top - 3, y2: bottom + 2 });
    }
    layerAxis(drawing, x, bottom, right - left, false);
    guide = svg(drawing, "rect", { y: top - 0.5, width: cell, height: bottom - top, fill: "none", stroke: "var(--ink)", "stroke-width": 1.25 });
    place();
  };
  const place = () => guide.setAttribute("x", x(shared.layer - 0.5));
  const read = () => {
    const row = category.values[shared.layer];
    const shares = category.options.map((name, i) => [row[i], `${short(name, 14)} ${plain(row[i], 2)}`]).filter(([share]) => share > 0);
    shares.sort((a, b) => b[0] - a[0]);
    reading.textContent = `Layer ${shared.layer}: ${known(row[0]) ? shares.map(([, text]) => text).join(" · ") : "removed"}`;
  };
  mount(holder, draw);
  pointing(holder, (pixel) => setLayer(Math.round(x.invert(pixel))));
  onLayer(() => {
    place();
    read();
  });
  read();
}
