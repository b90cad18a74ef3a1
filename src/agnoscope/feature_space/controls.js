/* What search, pointer and keys do to the map of feature space, which map.js draws. The page joins both. */

const tip = at("tip");
const SHOWN = 60, REACH = 12;

/* ---- choosing ---- */

const label = (i) => data.labels[i] || "";
const told = (i) => data.names[i] + (label(i) ? `, ${label(i)}` : "");

function hit(x, y) {
  const half = side() / 2, below = (i) => Math.abs(across(i) - x) <= half && Math.abs(down(i) - y) <= half;
  const shown = thumbs.shown.find(below);
  if (shown !== undefined) return shown;
  let best = -1, reach = REACH;
  for (let i = 0; i < count; i++) {
    const distance = Math.hypot(across(i) - x, down(i) - y);
    if (lit(i) && distance < reach) [best, reach] = [i, distance];
  }
  return best;
}

function choose(i, move = true) {
  state.chosen = i;
  at("chosen").hidden = i < 0;
  if (i >= 0) {
    at("chosen-name").textContent = data.names[i];
    at("chosen-label").textContent = label(i);
    at("chosen-picture").setAttribute("aria-label", `Thumbnail of ${told(i)}`);
    ink((context) => thumbnail(context, i, 0, 0, 96), at("chosen-picture"), 96);
    const [rows, distances] = data.neighbours.length ? data.neighbours[i] : [[], []];
    at("near").hidden = !rows.length;
    const metric = data.metric === "cosine" ? "1 − cosine" : "Euclidean distance";
    at("near").textContent = `Neighbours in feature space (${metric})`;
    list("neighbours", rows, distances);
    if (move) reveal(i);
  }
  const first = near(i).slice(0, 3).map(told).join("; ") || "not given";
  at("live").textContent = i < 0 ? "Nothing is chosen." : `${told(i)}. Nearest: ${first}.`;
  draw();
}

function made(tag, name, text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

/* An entry of a list: a button with a small picture and words. */
function entry(target, side, words, press) {
  const item = document.createElement("li"), button = document.createElement("button");
  const picture = document.createElement("canvas");
  button.type = "button";
  picture.setAttribute("aria-hidden", "true");
  ink(target, picture, side);
  button.append(picture, words);
  button.addEventListener("click", () => press(button));
  item.append(button);
  return item;
}

function list(id, rows, numbers = []) {
  at(id).replaceChildren(...rows.map((i, n) => {
    const words = made("span", "words"), small = [numbers[n], label(i)].filter(Boolean).join(" · ");
    words.append(made("bdi", "name", data.names[i]), made("bdi", "number", small));
    const item = entry((context) => thumbnail(context, i, 0, 0, 44), 44, words, () => { choose(i); focusOn(id, n); });
    item.firstChild.dataset.image = i;
    return item;
  }));
}

/* The list of neighbours changes under the one that was pressed: the keyboard goes on with its first entry. */
function focusOn(id, n) {
  if (id === "neighbours") (at(id).querySelector("button") || canvas).focus();
  else at(id).children[n].firstChild.focus();
}

function repaint() {
  for (const button of document.querySelectorAll("[data-image]"))
    ink((context) => thumbnail(context, Number(button.dataset.image), 0, 0, 44), button.firstChild, 44);
  if (state.chosen >= 0) ink((context) => thumbnail(context, state.chosen, 0, 0, 96), at("chosen-picture"), 96);
}

for (const sheet of sheets) sheet.addEventListener("load", repaint);

function search() {
  const asked = at("search").value.trim().toLocaleLowerCase();
  const matches = (i) => `${data.names[i]}\n${label(i)}`.toLocaleLowerCase().includes(asked);
  const hits = asked ? [...data.names.keys()].filter(matches) : [];
  state.found = asked ? new Set(hits) : null;
  list("results", hits.slice(0, SHOWN));
  const more = hits.length > SHOWN ? `, the first ${SHOWN} are listed` : "";
  at("found").textContent = asked ? `${hits.length} of ${count} images found${more}.` : "";
  draw();
  return hits;
}

function legend() {
  if (!at("legend")) return;
  at("legend").append(...data.legend.map(({ place, words }) => {
    const toggle = (button) => {
      const on = state.off.delete(place);
      if (!on) state.off.add(place);
      button.setAttribute("aria-pressed", String(on));
      draw();
    };
    const item = entry((context) => mark(context, place, 8, 8, 5.5), 16, made("bdi", "name", words), toggle);
    item.firstChild.setAttribute("aria-pressed", "true");
    return item;
  }));
}

/* ---- pointer ---- */

const pointers = new Map();
let travelled = 0;
const inside = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, inside(event));
  travelled = pointers.size > 1 ? REACH : 0;
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = inside(event), before = pointers.get(event.pointerId);
  if (!before) return hover(x, y);
  const [dx, dy] = [x - before[0], y - before[1]];
  travelled += Math.hypot(dx, dy);
  if (pointers.size === 2) {
    const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
    const spread = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
    zoom(spread([x, y]) / spread(before), (x + other[0]) / 2, (y + other[1]) / 2);
  } else if (travelled > 4) {
    look.x -= dx / look.scale;
    look.y -= dy / look.scale;
    canvas.classList.add("dragged");
    hover(-1e4, -1e4);
  }
  pointers.set(event.pointerId, [x, y]);
  draw();
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => {
  pointers.delete(event.pointerId);
  canvas.classList.remove("dragged");
  if (kind === "pointerup" && travelled <= 4) choose(hit(...inside(event)), false);
});
canvas.addEventListener("pointerleave", () => hover(-1e4, -1e4));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...inside(event));
}, { passive: false });

function hover(x, y) {
  const i = hit(x, y);
  tip.hidden = i < 0;
  canvas.classList.toggle("over", i >= 0);
  if (i >= 0) {
    tip.textContent = told(i);
    tip.style.left = `${Math.min(x + 14, Math.max(0, width - 200))}px`;
    tip.style.top = `${Math.min(y + 18, height - 40)}px`;
  }
  if (i !== state.over) draw();
  state.over = i;
}

/* ---- keys ---- */

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/* The nearest image in a direction; one far aside counts as farther. From nowhere, the one nearest to the middle. */
function next([right, down_]) {
  const [x, y] = state.chosen < 0 ? [look.x, look.y] : [places[2 * state.chosen], places[2 * state.chosen + 1]];
  let best = -1, least = Infinity;
  for (let i = 0; i < count; i++) {
    if (!lit(i) || i === state.chosen) continue;
    const dx = places[2 * i] - x, dy = places[2 * i + 1] - y, ahead = dx * right + dy * down_;
    const aside = Math.abs(dx * down_) + Math.abs(dy * right);
    const way = state.chosen < 0 ? Math.hypot(dx, dy) : ahead > 0 && aside <= ahead ? ahead + aside : Infinity;
    if (way < least) [best, least] = [i, way];
  }
  return best;
}

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = ARROWS[event.key];
  const far = (n) => (arrow[n] * 120) / look.scale;
  if (arrow && event.shiftKey) goTo(look.x + far(0), look.y + far(1), look.scale);
  else if (arrow) { const i = next(arrow); if (i >= 0) choose(i); }
  else if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (event.key === "0") whole();
  else if (event.key === "Escape") choose(-1);
  else if (event.key === "Enter" && state.chosen >= 0) (at("neighbours").querySelector("button") || canvas).focus();
  else return;
  event.preventDefault();
});

at("search").addEventListener("input", search);
at("search").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const [first] = search();
  if (first !== undefined) choose(first);
});
at("closer").addEventListener("click", () => zoom(1.4));
at("farther").addEventListener("click", () => zoom(1 / 1.4));
at("whole").addEventListener("click", whole);
for (const input of document.querySelectorAll("input[name=view]"))
  input.addEventListener("change", () => change(Number(input.value)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

at("main").hidden = false;
legend();
new ResizeObserver(resize).observe(canvas);
