// Fades maps in and out and flips them to their photos. Without it the page shows the same, standing still.
const panels = [...document.querySelectorAll("[data-map]")];
const every = document.getElementById("all");
const flipper = document.getElementById("flip");
const slider = (panel) => panel.querySelector("input[type=range]");
const button = (panel) => panel.querySelector("button.flip");

function say(input) {
  input.setAttribute("aria-valuetext", `${input.value} %`);
}

function fade(panel, percent) {
  panel.style.setProperty("--cover", percent / 100);
  slider(panel).value = percent;
  say(slider(panel));
}

function flip(panel, on) {
  panel.classList.toggle("flipped", on);
  button(panel).setAttribute("aria-pressed", on);
  flipper.setAttribute("aria-pressed", panels.every((one) => one.classList.contains("flipped")));
}

function flipAll() {
  const on = flipper.getAttribute("aria-pressed") !== "true";
  panels.forEach((panel) => flip(panel, on));
}

panels.forEach((panel) => {
  say(slider(panel));
  slider(panel).addEventListener("input", (event) => fade(panel, event.target.value));
  button(panel).addEventListener("click", () => flip(panel, !panel.classList.contains("flipped")));
});
say(every);
every.addEventListener("input", () => {
  say(every);
  panels.forEach((panel) => fade(panel, every.value));
});
flipper.addEventListener("click", flipAll);
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "f" || event.ctrlKey || event.metaKey || event.altKey) return;
  const panel = document.activeElement.closest("[data-map]");
  if (panel) flip(panel, !panel.classList.contains("flipped"));
  else flipAll();
});
document.documentElement.classList.add("live");
