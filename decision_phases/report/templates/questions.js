// Every question: a list to search, sort and choose from, and the trajectory of the one at hand.
const ORDERS = {
  "lowest final margin": (a, b) => final(a) - final(b),
  "highest final margin": (a, b) => final(b) - final(a),
  "latest commitment": (a, b) => commitment(b) - commitment(a) || final(a) - final(b),
  "earliest commitment": (a, b) => commitment(a) - commitment(b) || final(b) - final(a),
  category: (a, b) => data.questions.category[a].localeCompare(data.questions.category[b]) || final(a) - final(b),
  "as asked": (a, b) => a - b,
};
const final = (q) => data.questions.margin[q].findLast(known) ?? 0;
const commitment = (q) => data.questions.commitment[q] ?? data.n_layers;
const lastChoice = (q) => data.questions.choice[q].findLast(known);

function questionBrowser() {
  const all = data.questions;
  if (!all || !byId("question-list")) return;
  const list = byId("question-list");
  const rows = all.id.map((_, q) => questionRow(q));
  const haystack = all.id.map((_, q) => [all.text[q], all.category[q], all.id[q], ...all.options[q]].join("\n").toLowerCase());
  const category = byId("question-category");
  const order = byId("question-order");
  html("option", { value: "" }, "all", category);
  for (const name of [...new Set(all.category)].sort()) html("option", { value: name }, name || "none", category);
  for (const name of Object.keys(ORDERS)) html("option", { value: name }, name, order);
  let shown = [];
  let chosen = null;
  let redraw = null;
  let preview = null;
  const show = () => redraw?.(preview ?? chosen);
  const choose = (q, scroll) => {
    if (chosen !== null) rows[chosen].setAttribute("aria-selected", "false");
    chosen = q;
    if (q !== null) {
      rows[q].setAttribute("aria-selected", "true");
      list.setAttribute("aria-activedescendant", rows[q].id);
      if (scroll) rows[q].scrollIntoView({ block: "nearest" });
    } else list.removeAttribute("aria-activedescendant");
    show();
  };
  const filter = () => {
    const words = byId("question-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = all.id.map((_, q) => q).filter((q) => (!category.value || all.category[q] === category.value) && words.every((w) => haystack[q].includes(w)));
    shown.sort(ORDERS[order.value]);
    list.replaceChildren(...(shown.length ? shown.map((q) => rows[q]) : [html("p", { class: "empty" }, "No question matches.")]));
    byId("question-count").textContent = shown.length === all.id.length ? `${shown.length} questions` : `${shown.length} of ${all.id.length} questions`;
    list.scrollTop = 0;
    preview = null;
    choose(shown[0] ?? null);
  };
  rows.forEach((row, q) => {
    row.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "touch") return;
      preview = q;
      show();
    });
    row.addEventListener("click", () => choose(q));
  });
  list.addEventListener("pointerleave", () => {
    preview = null;
    show();
  });
  list.addEventListener("keydown", (event) => {
    const at = shown.indexOf(chosen);
    const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
    if (target === undefined || !shown.length) return;
    event.preventDefault();
    preview = null;
    choose(shown[Math.max(0, Math.min(shown.length - 1, target))], true);
  });
  for (const id of ["question-search", "question-category", "question-order"]) byId(id).addEventListener("input", filter);
  redraw = questionDetail(byId("question-detail"));
  filter();
}
function questionRow(q) {
  const all = data.questions;
  const strip = html("span", { class: "strip", "aria-hidden": "true" });
  const share = 100 / data.n_layers;
  const stops = all.margin[q].map((m, l) => `${tone(m)} ${(l * share).toFixed(2)}% ${((l + 1) * share).toFixed(2)}%`);
  strip.style.background = `linear-gradient(to right, ${stops.join(",")})`;
  const when = all.commitment[q];
  return html("div", { class: "row", role: "option", id: `q-${q}`, "aria-selected": "false" }, [
    html("span", { class: "cut" }, all.text[q].replace(/\s+/g, " ")),
    strip,
    html("span", { class: "value" }, signed(final(q), 2)),
    html("span", { class: "when" }, when === null ? "–" : String(when)),
  ]);
}
// Returns a function that shows one question.
function questionDetail(holder) {
  const all = data.questions;
  const text = html("p", { class: "question", "data-field": "question" }, [], holder);
  const about = html("p", { class: "about" }, [], holder);
  const options = html("ol", { class: "options" }, [], holder);
  const chart = html("div", { class: "chart" }, [], holder);
  let now = null;
  const again = mount(chart, (width) => now !== null && trajectory(chart, width, now));
  onLayer(() => again());
  return (q) => {
    now = q;
    holder.hidden = q === null;
    if (q === null) return;
    const choice = lastChoice(q);
    text.textContent = all.text[q];
    const when = all.commitment[q];
    about.textContent = `${all.category[q] || "no category"} · ${all.id[q]} · final margin ${signed(final(q))} · ${when === null ? "no choice" : `keeps its choice from layer ${when}`}`;
    options.replaceChildren(...all.options[q].map((option, i) => {
      const isGold = i === all.gold[q];
      const tag = isGold ? (i === choice ? "right, and chosen" : "right") : i === choice ? "chosen" : "";
      return html("li", {}, [
        html("span", { class: "key" }, letter(i)),
        html("span", { class: isGold ? "is-gold" : null }, option),
        html("span", { class: `tag ${isGold ? "right" : "wrong"}` }, tag),
      ]);
    }));
    again();
  };
}
const letter = (i) => (i < 26 ? String.fromCharCode(65 + i) : String(i + 1));

function trajectory(holder, width, q) {
  const all = data.questions;
  const left = 40;
  const right = width - 8;
  const x = scale(-0.5, data.n_layers - 0.5, left, right);
  const half = (right - left) / data.n_layers / 2;
  const top = 24;
  const bottom = 194;
  const count = all.options[q].length;
  const step = count > 8 ? 11 : 15;
  const grid = bottom + 14;
  const y = scale(-1, 1, bottom, top);
  const drawing = canvas(holder, width, grid + step * count + 22, `Margin of this question by layer, from ${signed(all.margin[q].find(known))} to ${signed(final(q))}`);
  phases(drawing, x, top, bottom, half);
  yAxis(drawing, y, [-1, 0, 1], left, (v) => signed(v, 0).replace("+0", "0"));
  svg(drawing, "line", { class: "zero", x1: left, x2: right, y1: y(0), y2: y(0) });
  const xs = all.margin[q].map((_, layer) => x(layer));
  const heights = (list) => list.map((v) => (known(v) ? y(v) : null));
  svg(drawing, "path", { class: "line mean", d: linePath(xs, heights(data.margin)) });
  svg(drawing, "path", { class: "line own", d: linePath(xs, heights(all.margin[q])) });
  all.margin[q].forEach((m, l) => known(m) && svg(drawing, "circle", { class: `dot ${m > 0 ? "right" : "wrong"}`, cx: xs[l], cy: y(m), r: Math.min(3.2, half) }));
  svg(drawing, "text", { x: left, y: 12 }, "line: this question; dotted: the mean");
  for (let i = 0; i < count; i += 1) {
    const middle = grid + i * step + step / 2;
    svg(drawing, "text", { x: left - 8, y: middle + 4, "text-anchor": "end", class: i === all.gold[q] ? "strong" : null }, letter(i));
    svg(drawing, "line", { class: "axis", x1: left, x2: right, y1: middle, y2: middle });
  }
  all.choice[q].forEach((choice, l) => {
    if (!known(choice)) return;
    const size = Math.min(step - 4, 2 * half - 1);
    const node = svg(drawing, "rect", { class: `dot ${choice === all.gold[q] ? "right" : "wrong"}`, x: xs[l] - half + 0.5, y: grid + choice * step + (step - Math.max(size, 7)) / 2, width: Math.max(1, 2 * half - 1), height: Math.max(size, 7) });
    svg(node, "title", {}, `layer ${l}: ${all.options[q][choice]}`);
  });
  svg(drawing, "line", { class: "guide", x1: x(shared.layer), x2: x(shared.layer), y1: top, y2: grid + step * count });
  layerAxis(drawing, x, grid + step * count, right - left, false);
}
