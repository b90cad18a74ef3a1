"use strict";
/* The map of feature space: what is drawn, and what pointer, keys and search do to it.

   Places are whole numbers from 0 to `extent`, down and to the right. `look` says which of them the window shows:
   its centre, and how many pixels one unit takes. */
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const count = data.names.length;
  const at = (id) => document.getElementById(id);
  const canvas = at("map"), pen = canvas.getContext("2d"), tip = at("tip");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const SHOWN = 60, SMALLEST = 36, CLOSEST = 80, COLOURS = 7, REACH = 12, MARGIN = 40;
  const DOT = Math.max(2, Math.min(4, 90 / Math.sqrt(count)));

  const state = { view: 0, chosen: -1, over: -1, found: null, off: new Set() };
  const look = { x: data.extent / 2, y: data.extent / 2, scale: 0 };
  let places = Float32Array.from(data.views[0].places);
  let width = 0, height = 0, wanted = false, thumbs = { key: "", found: null, shown: [] };

  /* ---- pictures: thumbnails lie in sheets, row by row ---- */

  const sheets = data.sheets.map((address) => {
    const image = new Image();
    image.onload = () => { draw(); repaint(); };
    image.src = address;
    return image;
  });

  function thumbnail(target, i, left, top, side) {
    const [w, h] = data.sizes[i], each = data.across * data.across, place = i % each;
    const sheet = sheets[Math.floor(i / each)], scale = side / data.side;
    if (!sheet.complete || !sheet.naturalWidth) return;
    const x = (place % data.across) * data.side, y = Math.floor(place / data.across) * data.side;
    target.drawImage(sheet, x, y, w, h, left + (side - w * scale) / 2, top + (side - h * scale) / 2, w * scale, h * scale);
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
  const fits = () => Math.max(1e-6, Math.min((width - 2 * MARGIN) / spans[state.view][0], (height - 2 * MARGIN) / spans[state.view][1]));
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
    const scale = Math.min(fits() * 100, Math.max(fits() * 0.5, look.scale * factor)), change = 1 / look.scale - 1 / scale;
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

  /* ---- choosing ---- */

  const label = (i) => data.labels[i] || "";
  const told = (i) => data.names[i] + (label(i) ? `, ${label(i)}` : "");

  function hit(x, y) {
    const half = side() / 2, inside = thumbs.shown.find((i) => Math.abs(across(i) - x) <= half && Math.abs(down(i) - y) <= half);
    if (inside !== undefined) return inside;
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
      at("near").textContent = `Neighbours in feature space (${data.metric === "cosine" ? "1 − cosine" : "Euclidean distance"})`;
      list("neighbours", rows, distances);
      if (move) reveal(i);
    }
    at("live").textContent = i < 0 ? "Nothing is chosen." : `${told(i)}. Nearest: ${near(i).slice(0, 3).map(told).join("; ") || "not given"}.`;
    draw();
  }

  function list(id, rows, numbers = []) {
    at(id).replaceChildren(...rows.map((i, n) => {
      const entry = document.createElement("li"), button = document.createElement("button");
      const picture = document.createElement("canvas"), words = document.createElement("span");
      const name = document.createElement("bdi"), small = document.createElement("bdi");
      button.type = "button";
      button.dataset.image = i;
      picture.setAttribute("aria-hidden", "true");
      ink((context) => thumbnail(context, i, 0, 0, 44), picture, 44);
      words.className = "words";
      name.className = "name";
      name.textContent = data.names[i];
      small.className = "number";
      small.textContent = [numbers[n], label(i)].filter(Boolean).join(" · ");
      words.append(name, small);
      button.append(picture, words);
      button.addEventListener("click", () => { choose(i); focusOn(id, n); });
      entry.append(button);
      return entry;
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

  function search() {
    const asked = at("search").value.trim().toLocaleLowerCase();
    const hits = [];
    if (asked) for (let i = 0; i < count; i++) if (`${data.names[i]}\n${label(i)}`.toLocaleLowerCase().includes(asked)) hits.push(i);
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
      const entry = document.createElement("li"), button = document.createElement("button");
      const swatch = document.createElement("canvas"), name = document.createElement("bdi");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      swatch.setAttribute("aria-hidden", "true");
      ink((context) => mark(context, place, 8, 8, 5.5), swatch, 16);
      name.className = "name";
      name.textContent = words;
      button.append(swatch, name);
      button.addEventListener("click", () => {
        const on = state.off.delete(place);
        if (!on) state.off.add(place);
        button.setAttribute("aria-pressed", String(on));
        draw();
      });
      entry.append(button);
      return entry;
    }));
  }

  /* ---- pointer ---- */

  const pointers = new Map();
  let travelled = 0;
  const inside = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };

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
    if (arrow && event.shiftKey) goTo(look.x + (arrow[0] * 120) / look.scale, look.y + (arrow[1] * 120) / look.scale, look.scale);
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
}
