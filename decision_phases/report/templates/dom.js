// Elements, numbers and shared state. Text only ever enters the page as text.
const SVG = "http://www.w3.org/2000/svg";
const data = JSON.parse(document.getElementById("data").textContent);

function add(parent, node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of [].concat(children ?? [])) node.append(child);
  if (parent) parent.append(node);
  return node;
}
const html = (name, attributes, children, parent) => add(parent, document.createElement(name), attributes, children);
const svg = (parent, name, attributes, text) => add(parent, document.createElementNS(SVG, name), attributes, text);
const byId = (id) => document.getElementById(id);
const known = (value) => value !== null && value !== undefined;

function plain(value, digits = 3) {
  return known(value) ? value.toFixed(digits).replace(/^-(?=[0.]+$)/, "").replace("-", "−") : "–";
}
function signed(value, digits = 3) {
  if (!known(value)) return "–";
  const text = plain(value, digits);
  return (text.startsWith("−") ? "" : "+") + text;
}
const percent = (value) => (known(value) ? Math.round(100 * value) + "%" : "–");

// State that several charts share: one layer at a time, whoever points at it.
const shared = { layer: data.transition.layer ?? data.n_layers - 1 };
const listeners = [];
function onLayer(listener) {
  listeners.push(listener);
}
function setLayer(layer) {
  const next = Math.max(0, Math.min(data.n_layers - 1, layer));
  if (next === shared.layer) return;
  shared.layer = next;
  for (const listener of listeners) listener();
}
function phaseOf(layer) {
  if (!known(data.margin[layer])) return "removed";
  if (!data.phases) return "no phases";
  return data.phases.silent.includes(layer) ? "Silent Phase" : "Decisive Phase";
}
