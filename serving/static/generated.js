"use strict";

const SHOWN = 24;
const MAX_SEED = 2 ** 32 - 1;

const element = (id) => document.getElementById(id);

let chosenModel = new URLSearchParams(location.search).get("model"); // null for the oldest generator
let chosenClass = null;
let firstSeed = 0;

function query(parameters) {
  const model = chosenModel === null ? {} : { model: chosenModel };
  return new URLSearchParams({ ...parameters, ...model }).toString();
}

function say(text, isProblem = false) {
  element("state").textContent = text;
  element("state").classList.toggle("problem", isProblem);
}

// --- images

function show() {
  const images = Array.from({ length: SHOWN }, (_, number) => {
    const seed = (firstSeed + number) % (MAX_SEED + 1);
    const image = new Image();
    image.alt = `${chosenClass}, seed ${seed}`;
    image.title = image.alt;
    image.addEventListener("error", () => explain(image.src));
    image.src = `generate/image?${query({ class: chosenClass, seed })}`;
    const item = document.createElement("li");
    item.append(image);
    return item;
  });
  element("images").replaceChildren(...images);
  say(`${SHOWN} images of ${chosenClass}, seeds from ${firstSeed}`);
}

/** Say why an image cannot be loaded, which only a request of its own tells. */
async function explain(address) {
  try {
    const response = await fetch(address);
    if (!response.ok) say((await response.json()).error, true);
  } catch {
    say(NO_ANSWER, true);
  }
}

function choose(name) {
  chosenClass = name;
  for (const button of element("classes").children) {
    button.setAttribute("aria-pressed", String(button.textContent === name));
  }
  show();
}

element("more").addEventListener("click", () => {
  firstSeed = Math.floor(Math.random() * MAX_SEED);
  show();
});

// --- models

element("models").addEventListener("change", (event) => {
  chosenModel = event.target.value;
  history.replaceState(null, "", `?${query({})}`);
  start();
});

function offerClasses(names) {
  const buttons = names.map((name) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.addEventListener("click", () => choose(name));
    return button;
  });
  element("classes").replaceChildren(...buttons);
}

function start() {
  loadModel(`generate?${query({})}`, chosenModel === null ? null : "generate", showModel, (problem) => {
    element("more").disabled = true;
    say(problem, true);
  });
}

function showModel(model) {
  element("more").disabled = false;
  offerModels(model.models, model.model);
  element("model").textContent = `${model.model}, version ${model.version}`;
  offerClasses(model.classes);
  choose(model.classes.includes(chosenClass) ? chosenClass : model.classes[0]);
}

start();
