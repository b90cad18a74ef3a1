/* The map of feature space: what is drawn, and how the window moves over it. controls.js does what a reader asks for.

   Places are whole numbers from 0 to `extent`, down and to the right. `look` says which of them the window shows:
   its centre, and how many pixels one unit takes. */

const data = JSON.parse(document.getElementById("data").textContent);
const count = data.names.length;
const at = (id) => document.getElementById(id);
const canvas = at("map"), pen = canvas.getContext("2d");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const SMALLEST = 36, CLOSEST = 80, COLOURS = 7, MARGIN = 40;
const DOT = Math.max(2, Math.min(4, 90 / Math.sqrt(count)));

const state = { view: 0, chosen: -1, over: -1, found: null, off: new Set() };
const look = { x: data.extent / 2, y: data.extent / 2, scale: 0 };
let places = Float32Array.from(data.views[0].places);
let width = 0, height = 0, wanted = false, thumbs = { key: "", found: null, shown: [] };

/* ---- pictures: thumbnails lie in sheets, row by row ---- */

const sheets = data.sheets.map((address) => {
  const image = new Image();
  image.addEventListener("load", draw);
  image.src = address;
  return image;
});

function thumbnail(target, i, left, top, side) {
  const [w, h] = data.sizes[i], each = data.across * data.across, place = i % each;
  const sheet = sheets[Math.floor(i / each)], scale = side / data.side;
  if (!sheet.complete || !sheet.naturalWidth) return;
  const x = (place % data.across) * data.side, y = Math.floor(place / data.across) * data.side;
  const [wide, high] = [w * scale, h * scale];
  target.drawImage(sheet, x, y, w, h, left + (side - wide) / 2, top + (side - high) / 2, wide, high);
}

function ink(target, element, side) {
  const ratio = devicePixelRatio || 1;
  element.width = element.height = Math.round(side * ratio);
  const context = element.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  target(context);
}

function mark(context, place, x, y, radius) {
  const { colour, shape } = data.looks[place + 1];
  context.fillStyle = colour;
  context.beginPath();
  if (shape === "circle") context.arc(x, y, radius, 0, 2 * Math.PI);
  else {
    const corners = {
      square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
      triangle: [[0, -1.2], [1.15, 0.85], [-1.15, 0.85]],
      diamond: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
    }[shape];
    corners.forEach(([right, down], n) => context[n ? "lineTo" : "moveTo"](x + radius * right, y + radius * down));
    context.closePath();
  }
  context.fill();
}

/* ---- what is seen ---- */

const centre = data.extent / 2;
const spans = data.views.map(({ places: all }) => {
  const span = [1, 1];
  all.forEach((value, n) => { span[n % 2] = Math.max(span[n % 2], 2 * Math.abs(value - centre)); });
  return span;
});
const fits = () => {
  const [wide, high] = spans[state.view];
  return Math.max(1e-6, Math.min((width - 2 * MARGIN) / wide, (height - 2 * MARGIN) / high));
};
const across = (i) => (places[2 * i] - look.x) * look.scale + width / 2;
const down = (i) => (places[2 * i + 1] - look.y) * look.scale + height / 2;
const lit = (i) => !state.off.has(data.marks[i]) && (!state.found || state.found.has(i));
const near = (i) => (i >= 0 && data.neighbours.length ? data.neighbours[i][0] : []);

function side() {
  const cell = data.views[state.view].cell;
  if (cell) return Math.max(6, Math.min(CLOSEST, cell * look.scale * 0.94));
  return Math.min(data.side, SMALLEST + 6 * Math.max(0, Math.log2(look.scale / fits())));
}

/* Numbers of the images whose thumbnails do not cover one another: those that matter most first. */
function apart(step) {
  const size = step / look.scale, key = [size, state.view, state.chosen, ...state.off].join();
  if (key === thumbs.key && state.found === thumbs.found) return thumbs.shown;
  const first = [state.chosen, ...near(state.chosen)].filter((i) => i >= 0), taken = new Map(), shown = [];
  const room = (i) => {
    const x = places[2 * i], y = places[2 * i + 1], column = Math.floor(x / size), row = Math.floor(y / size);
    for (let c = column - 1; c <= column + 1; c++) for (let r = row - 1; r <= row + 1; r++)
      for (const j of taken.get(c * 65536 + r) || [])
        if (Math.abs(places[2 * j] - x) < size && Math.abs(places[2 * j + 1] - y) < size) return false;
    const own = column * 65536 + row;
    taken.set(own, [...(taken.get(own) || []), i]);
    return true;
  };
  const all = data.views[state.view].cell !== 0;
  for (const i of first) { room(i); shown.push(i); }
  for (let i = 0; i < count; i++) if (lit(i) && !first.includes(i) && (all || room(i))) shown.push(i);
  thumbs = { key, shown, found: state.found };
  return shown;
}

function paint() {
  wanted = false;
  const style = getComputedStyle(document.documentElement), accent = style.getPropertyValue("--accent");
  pen.clearRect(0, 0, width, height);
  const size = side(), shown = apart(size + 2), neighbours = new Set(near(state.chosen));
  const seen = (i) => across(i) > -size && across(i) < width + size && down(i) > -size && down(i) < height + size;
  const covered = new Set(data.views[state.view].cell ? shown : []);
  for (const bright of [false, true]) for (let i = 0; i < count; i++) {
    if (lit(i) !== bright || covered.has(i) || !seen(i)) continue;
    pen.globalAlpha = bright ? 0.9 : 0.15;
    mark(pen, data.marks[i], across(i), down(i), DOT);
  }
  pen.globalAlpha = 1;
  if (state.chosen >= 0) {
    pen.strokeStyle = accent;
    pen.lineWidth = 1.5;
    for (const i of neighbours) {
      pen.beginPath();
      pen.moveTo(across(state.chosen), down(state.chosen));
      pen.lineTo(across(i), down(i));
      pen.stroke();
    }
  }
  for (const i of [...shown].reverse()) if (seen(i)) {
    thumbnail(pen, i, across(i) - size / 2, down(i) - size / 2, size);
    if (data.marks[i] >= 0) {
      frame(i, size, data.looks[data.marks[i] + 1].colour, Math.min(2, size / 16));
      if (data.looks.length - 1 > COLOURS) corner(i, size);
    }
    if (neighbours.has(i)) frame(i, size, accent, 3);
  }
  for (const i of [state.over, state.chosen]) if (i >= 0) {
    const large = Math.max(size, SMALLEST) * (i === state.chosen ? 1.3 : 1);
    thumbnail(pen, i, across(i) - large / 2, down(i) - large / 2, large);
    frame(i, large, accent, i === state.chosen ? 4 : 2);
  }
}

function frame(i, size, colour, line) {
  const [w, h] = data.sizes[i].map((length) => (length * size) / data.side);
  pen.strokeStyle = colour;
  pen.lineWidth = line;
  pen.strokeRect(across(i) - w / 2, down(i) - h / 2, w, h);
}

/* With more labels than colours the shape tells them apart, too. */
function corner(i, size) {
  const [w, h] = data.sizes[i].map((length) => (length * size) / data.side);
  const x = across(i) - w / 2 + 6, y = down(i) + h / 2 - 6;
  if (size < SMALLEST - 8) return;
  pen.fillStyle = "white";
  pen.fillRect(x - 6, y - 6, 12, 12);
  mark(pen, data.marks[i], x, y, 4);
}

function draw() {
  if (!wanted) requestAnimationFrame(paint);
  wanted = true;
}

function resize() {
  const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1, before = look.scale / fits();
  width = box.width;
  height = box.height;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  look.scale = fits() * (look.scale ? before : 1);
  draw();
}

/* ---- moving ---- */

let moving = 0;

function glide(step, done) {
  cancelAnimationFrame(moving);
  const start = performance.now(), length = still.matches ? 0 : 450;
  const frame = (now) => {
    const share = length ? Math.min(1, (now - start) / length) : 1;
    step(share * share * (3 - 2 * share));
    thumbs.key = "";
    moving = share < 1 ? requestAnimationFrame(frame) : 0;
    draw();
  };
  moving = requestAnimationFrame(frame);
}

/* About a place of the window: by default where the chosen image is, if it is seen. */
function zoom(factor, x, y) {
  if (x === undefined) {
    [x, y] = state.chosen < 0 ? [-1, -1] : [across(state.chosen), down(state.chosen)];
    if (x < 0 || y < 0 || x > width || y > height) [x, y] = [width / 2, height / 2];
  }
  const scale = Math.min(fits() * 100, Math.max(fits() * 0.5, look.scale * factor));
  const change = 1 / look.scale - 1 / scale;
  look.x += (x - width / 2) * change;
  look.y += (y - height / 2) * change;
  look.scale = scale;
  draw();
}

function goTo(x, y, scale) {
  const from = { ...look };
  glide((share) => {
    look.x = from.x + (x - from.x) * share;
    look.y = from.y + (y - from.y) * share;
    look.scale = from.scale * Math.pow(scale / from.scale, share);
  });
}

const whole = () => goTo(centre, centre, fits());

function reveal(i) {
  const x = across(i), y = down(i);
  if (x < MARGIN || y < MARGIN || x > width - MARGIN || y > height - MARGIN)
    goTo(places[2 * i], places[2 * i + 1], look.scale);
}

function change(view) {
  const from = places, to = Float32Array.from(data.views[view].places);
  state.view = view;
  at("said").textContent = data.views[view].said;
  glide((share) => { places = share === 1 ? to : from.map((value, n) => value + (to[n] - value) * share); });
  Object.assign(look, { x: centre, y: centre, scale: fits() });
}
