// Option Frequency: a row for each option, a column for each layer, and the right answers beside them.
function frequencyChart() {
  const frequency = data.option_frequency;
  const holder = byId("frequency-chart");
  if (!frequency || !holder) return;
  const most = mostFrequent();
  let x;
  let guide = null;
  const draw = (width) => {
    const narrow = width < 500;
    const left = narrow ? 70 : 130;
    const gold = 34;
    const right = width - gold - 12;
    const height = Math.max(14, Math.min(30, 320 / frequency.options.length));
    const top = 22;
    const bottom = top + height * frequency.options.length;
    const cell = (right - left) / data.n_layers;
    x = scale(-0.5, data.n_layers - 0.5, left, right);
    const drawing = canvas(holder, width, bottom + 38, "Heat map of the share of questions for which each layer would choose each option");
    frequency.options.forEach((name, i) => {
      const y = top + i * height;
      svg(drawing, "text", { x: left - 8, y: y + height / 2 + 4, "text-anchor": "end" }, short(name, narrow ? 8 : 17));
      for (let layer = 0; layer < data.n_layers; layer += 1) {
        const share = frequency.values[layer]?.[i];
        square(drawing, left + layer * cell, y, cell, height, known(share) ? tone(share, most) : "none");
      }
      square(drawing, width - gold, y, gold, height, tone(frequency.gold[i], most));
    });
    svg(drawing, "text", { x: width - gold / 2, y: 14, "text-anchor": "middle" }, "right");
    if (data.transition.layer !== null) {
      const edge = x(data.transition.layer - 0.5);
      svg(drawing, "line", { class: "boundary", x1: edge, x2: edge, y1: top - 4, y2: bottom + 4 });
      svg(drawing, "text", { x: edge, y: 12, "text-anchor": "middle" }, "transition");
    }
    layerAxis(drawing, x, bottom, right - left, true);
    guide = svg(drawing, "rect", { y: top, width: cell, height: bottom - top, fill: "none", stroke: "var(--ink)", "stroke-width": 1.5 });
    place();
  };
  const place = () => guide.setAttribute("x", x(shared.layer - 0.5));
  const read = () => {
    const row = frequency.values[shared.layer];
    const shares = frequency.options.map((name, i) => `${short(name, 24)} ${plain(row?.[i], 2)}`);
    byId("frequency-reading").textContent = `Layer ${shared.layer}: ${row ? shares.join(" · ") : "removed"}`;
  };
  mount(holder, draw);
  pointing(holder, (pixel) => setLayer(Math.round(x.invert(pixel))));
  const say = slider(holder, "Layer", () => shared.layer, setLayer, data.n_layers - 1, () => byId("frequency-reading").textContent);
  const update = () => {
    place();
    read();
    say();
  };
  onLayer(update);
  update();
}
// The largest share anywhere, so that shades and bars of different layers can be compared.
function mostFrequent() {
  const { gold, values } = data.option_frequency;
  return Math.max(...gold, ...values.flatMap((row) => (row ?? []).filter(known)));
}
function short(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
function square(parent, x, y, width, height, colour) {
  const gap = width > 6 ? 1 : 0;
  const node = svg(parent, "rect", { x: x.toFixed(2), y, width: Math.max(0.5, width - gap).toFixed(2), height: height - 1 });
  node.style.fill = colour;
  return node;
}
