// What happened to the transition: a row of margins for each step of one removal order, and its table.
function pathChart() {
  const choice = byId("path-choice");
  if (!choice || !data.paths.length) return;
  data.paths.forEach((path, i) => html("option", { value: i }, path.label, choice));
  const holder = byId("path-chart");
  let path = data.paths[0];
  let place = null;
  let step = path.steps.length - 1;
  const again = mount(holder, (width) => {
    place = drawPath(holder, width, path);
    place.at(step);
  });
  const read = () => {
    const row = path.steps[step];
    const value = row.by_layer[shared.layer];
    const what = row.cut.includes(shared.layer) ? "removed" : known(value) ? `mean margin ${signed(value)}` : "not measured";
    byId("path-reading").textContent = `${row.step === 0 ? "Intact" : `Step ${row.step}`}, layer ${shared.layer}: ${what}`;
    for (const [i, line] of [...byId("path-table").querySelectorAll("tbody tr")].entries()) line.classList.toggle("hover", i === step);
  };
  const say = slider(holder, "Step", () => step, (value) => set(value), path.steps.length - 1, () => byId("path-reading").textContent);
  const set = (value) => {
    step = Math.max(0, Math.min(path.steps.length - 1, value));
    place.at(step);
    read();
    say();
  };
  pointing(holder, (px, py) => {
    setLayer(Math.round(place.x.invert(px)));
    set(Math.floor(place.row(py)));
  });
  choice.addEventListener("input", () => {
    path = data.paths[Number(choice.value)];
    step = path.steps.length - 1;
    holder.setAttribute("aria-valuemax", step);
    pathTable(path);
    again();
    set(step);
  });
  onLayer(() => set(step));
  pathTable(path);
  set(step);
}
function drawPath(holder, width, path) {
  const left = width < 500 ? 58 : 92;
  const right = width - 4;
  const height = 26;
  const top = 24;
  const bottom = top + height * path.steps.length;
  const x = scale(-0.5, data.n_layers - 0.5, left, right);
  const cell = (right - left) / data.n_layers;
  const largest = Math.max(1e-9, ...path.steps.flatMap((row) => row.by_layer.filter(known).map(Math.abs)));
  const drawing = canvas(holder, width, bottom + 62);
  svg(drawing, "text", { x: left - 10, y: 14, "text-anchor": "end" }, "removed");
  path.steps.forEach((row, i) => {
    const y = top + i * height;
    svg(drawing, "text", { x: left - 10, y: y + height / 2 + 4, "text-anchor": "end" }, row.removed === null ? "intact" : typeof row.removed === "number" ? `− ${row.removed}` : String(row.step));
    for (let layer = 0; layer < data.n_layers; layer += 1) {
      const value = row.by_layer[layer];
      if (known(value)) square(drawing, left + layer * cell, y, cell, height, tone(value, largest));
      else svg(drawing, "path", { d: MARKS.cross, stroke: "var(--muted)", transform: `translate(${x(layer)} ${y + height / 2}) scale(${Math.min(1, cell / 9).toFixed(2)})` });
    }
    if (row.transition !== null) {
      const edge = x(row.transition - 0.5);
      svg(drawing, "line", { class: "boundary thick", x1: edge, x2: edge, y1: y - 1, y2: y + height });
    }
  });
  const marked = path.steps.find((row) => row.transition !== null);
  if (marked) svg(drawing, "text", { x: x(marked.transition - 0.5), y: 14, "text-anchor": "middle" }, "transition");
  layerAxis(drawing, x, bottom, right - left, true);
  colourKey(drawing, left, bottom + 40, largest);
  const cursor = svg(drawing, "rect", { width: cell, height, fill: "none", stroke: "var(--ink)", "stroke-width": 1.5 });
  return {
    x,
    row: (pixel) => (pixel - top) / height,
    at: (step) => {
      cursor.setAttribute("x", x(shared.layer - 0.5));
      cursor.setAttribute("y", top + step * height - 0.5);
    },
  };
}
function colourKey(drawing, x, y, largest) {
  const steps = 21;
  for (let i = 0; i < steps; i += 1) {
    const value = -1 + (2 * i) / (steps - 1);
    square(drawing, x + i * 5, y, 5.5, 10, tone(value));
  }
  svg(drawing, "text", { x: x + steps * 5 + 8, y: y + 9 }, `${signed(-largest, 2)} … 0 … ${signed(largest, 2)}`);
}
function pathTable(path) {
  const heads = ["Step", "Removed", "Accuracy", "Margin", "Transition", "CKA", "CKA, shuffled", "Decision similarity"];
  const cells = (row) => [
    row.removed === null ? "–" : String(row.removed),
    known(row.accuracy_ci[0]) ? [plain(row.accuracy), " ", html("span", { class: "interval" }, `${plain(row.accuracy_ci[0], 2)} to ${plain(row.accuracy_ci[1], 2)}`)] : plain(row.accuracy),
    signed(row.margin),
    row.transition === null ? "none" : String(row.transition),
    plain(row.cka),
    plain(row.cka_null),
    plain(row.similarity),
  ];
  const rows = path.steps.map((row) => html("tr", {}, [html("th", { scope: "row" }, row.step === 0 ? "intact" : String(row.step)), ...cells(row).map((cell) => html("td", {}, cell))]));
  const table = html("table", {}, [
    html("thead", {}, html("tr", {}, heads.map((name) => html("th", { scope: "col" }, name)))),
    html("tbody", {}, rows),
  ]);
  byId("path-table").replaceChildren(table);
}
