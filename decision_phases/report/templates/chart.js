// What all charts share: scales, axes, redrawing at the width at hand, and pointing by mouse, finger or key.
function scale(low, high, from, to) {
  const factor = (to - from) / (high - low || 1);
  const map = (value) => from + (value - low) * factor;
  map.invert = (pixel) => low + (pixel - from) / factor;
  return map;
}
function ticks(low, high, most) {
  const raw = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9; k += 1) found.push(Number((k * step).toFixed(6)));
  return found;
}
function layerTicks(width) {
  const step = [1, 2, 5, 10, 20, 50].find((s) => (data.n_layers / s) * 26 <= width) ?? 50;
  const found = [];
  for (let layer = 0; layer < data.n_layers; layer += step) found.push(layer);
  return found;
}
// Draw now, and again whenever the width changes. Returns a function that draws again.
function mount(holder, draw) {
  let width = 0;
  const again = () => {
    width = Math.floor(holder.clientWidth);
    if (width < 40) return;
    holder.replaceChildren();
    draw(width);
  };
  again();
  new ResizeObserver(() => {
    if (Math.floor(holder.clientWidth) !== width) again();
  }).observe(holder);
  return again;
}
function canvas(holder, width, height, label) {
  return svg(holder, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: label ? "img" : null, "aria-hidden": label ? null : "true", "aria-label": label });
}
// The path of a series; a missing value breaks the line.
function linePath(xs, ys) {
  let path = "";
  let open = false;
  xs.forEach((x, i) => {
    if (ys[i] === null) open = false;
    else {
      path += `${open ? "L" : "M"}${x.toFixed(2)} ${ys[i].toFixed(2)}`;
      open = true;
    }
  });
  return path;
}
// The area between two series, one closed piece for each stretch without gaps.
function bandPath(xs, lows, highs) {
  let path = "";
  let piece = [];
  const close = () => {
    if (piece.length > 1) {
      const down = piece.map((i) => `${xs[i].toFixed(2)} ${highs[i].toFixed(2)}`);
      const up = piece.map((i) => `${xs[i].toFixed(2)} ${lows[i].toFixed(2)}`).reverse();
      path += `M${down.concat(up).join("L")}Z`;
    }
    piece = [];
  };
  xs.forEach((x, i) => (lows[i] === null || highs[i] === null ? close() : piece.push(i)));
  close();
  return path;
}
function yAxis(parent, y, values, x, format) {
  for (const value of values) {
    svg(parent, "text", { x: x - 8, y: y(value) + 4, "text-anchor": "end" }, format(value));
  }
}
function layerAxis(parent, x, y, width, name) {
  for (const layer of layerTicks(width)) svg(parent, "text", { x: x(layer), y: y + 16, "text-anchor": "middle" }, String(layer));
  if (name) svg(parent, "text", { x: x(data.n_layers - 1) + 8, y: y + 34, "text-anchor": "end" }, "layer");
}
// Make a holder a slider: pointing sets the value, and so do the arrow keys when it has the focus.
function slider(holder, label, get, set, last, describe) {
  holder.tabIndex = 0;
  for (const [name, value] of Object.entries({ role: "slider", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": last })) holder.setAttribute(name, value);
  const say = () => {
    holder.setAttribute("aria-valuenow", get());
    holder.setAttribute("aria-valuetext", describe());
  };
  holder.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 5, PageDown: -5 }[event.key];
    const target = event.key === "Home" ? 0 : event.key === "End" ? last : step && get() + step;
    if (target === undefined) return;
    event.preventDefault();
    set(Math.max(0, Math.min(last, target)));
  });
  say();
  return say;
}
function pointing(holder, set) {
  const move = (event) => {
    const drawing = holder.querySelector("svg");
    if (!drawing) return;
    const box = drawing.getBoundingClientRect();
    set(event.clientX - box.left, event.clientY - box.top);
  };
  holder.addEventListener("pointermove", move);
  holder.addEventListener("pointerdown", move);
}
// The colour of a margin as a share of its largest size: it follows the scheme by itself.
function tone(value, largest = 1) {
  if (!known(value)) return "var(--paper)";
  const share = Math.min(100, (100 * Math.abs(value)) / largest).toFixed(0);
  return `color-mix(in srgb, var(--${value < 0 ? "negative" : "positive"}) ${share}%, var(--paper))`;
}
function phases(parent, x, top, bottom, half) {
  const { layer, ci_low: low, ci_high: high } = data.transition;
  if (layer === null) return;
  const edge = x(layer - 0.5);
  const left = x(0) - half;
  const right = x(data.n_layers - 1) + half;
  svg(parent, "rect", { class: "silent", x: left, y: top, width: Math.max(0, edge - left), height: bottom - top });
  svg(parent, "rect", { class: "decisive", x: edge, y: top, width: Math.max(0, right - edge), height: bottom - top });
  if (known(low) && known(high)) {
    svg(parent, "rect", { class: "uncertain", x: x(low - 0.5), y: top, width: x(high - 0.5) - x(low - 0.5), height: bottom - top });
  }
  svg(parent, "line", { class: "boundary", x1: edge, x2: edge, y1: top, y2: bottom });
}
