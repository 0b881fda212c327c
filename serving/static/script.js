"use strict";

const INPUT_SIDE = 28;
const WHOLE_PAD = { x: 0, y: 0, scale: 1 };
const INK = "#000";
const STROKE_SHARE = 0.078; // of the side of the pad: about as thick as the strokes of the training data
const KEY_STEP_SHARE = 0.03;
const LARGE_PIXELS = 4_000_000; // a larger image is reduced before it is sent: a photo may exceed the server's limit
const PAUSE_MS = 40;
const SPEAK_AFTER_MS = 700;

const element = (id) => document.getElementById(id);
const frame = element("frame");
const pad = element("pad");
const pen = element("pen");
const modelInput = element("model-input");
const bars = element("bars");
const brush = pad.getContext("2d");

let openedFile = null; // the image file that is on the pad or being decoded, until something is drawn
let showsImage = false; // whether an image is on the pad, alone or below strokes
let place = WHOLE_PAD; // where on the pad the image is that is sent
let readsNumbers = false; // whether the model reads several digits
let drawingNumber = 0; // incremented when the pad is cleared, so that responses to an earlier drawing are ignored
let isReady = false; // whether the page knows the chosen model and its classes
let isPredicting = false;
let takesFeedback = false;
let predictAgain = false;
let pauseTimer = 0;
let speakTimer = 0;
let chosenModel = new URLSearchParams(location.search).get("model"); // null for the default model
let classes = [];
let shownId = null; // request ID of the prediction that is shown

const predictPath = () => (chosenModel === null ? "predict" : `predict/${encodeURIComponent(chosenModel)}`);
const percent = (share) => `${(share * 100).toFixed(1)} %`;

// --- drawing

function stroke(from, to) {
  openedFile = null;
  place = WHOLE_PAD;
  frame.classList.toggle("strokes", !showsImage);
  brush.strokeStyle = brush.fillStyle = INK;
  brush.lineWidth = pad.width * STROKE_SHARE;
  brush.lineCap = "round";
  brush.beginPath();
  brush.moveTo(from.x, from.y);
  brush.lineTo(to.x, to.y);
  brush.stroke();
  // A line of length 0 has no round caps.
  brush.beginPath();
  brush.arc(to.x, to.y, brush.lineWidth / 2, 0, 2 * Math.PI);
  brush.fill();
  changed();
}

function clearPad() {
  brush.clearRect(0, 0, pad.width, pad.height);
  openedFile = null;
  showsImage = false;
  place = WHOLE_PAD;
  frame.classList.add("strokes");
  element("invitation").hidden = false;
  forgetPrediction();
}

function forgetPrediction() {
  drawingNumber += 1;
  clearTimeout(pauseTimer);
  predictAgain = false;
  showNothing();
}

function changed() {
  element("invitation").hidden = true;
  clearTimeout(pauseTimer);
  pauseTimer = setTimeout(predict, PAUSE_MS);
}

async function openImage(file) {
  clearPad();
  openedFile = file;
  element("invitation").hidden = true;
  try {
    const image = await createImageBitmap(file);
    const [sent, share] = await reduce(file, image);
    if (openedFile !== file) return; // the pad was cleared or drawn on, or another file was opened
    showImage(image, share);
    openedFile = sent;
  } catch {
    // A file that the browser cannot show is sent all the same: the error of the server explains the problem.
    if (openedFile !== file) return;
  }
  changed();
}

/** Return the file to send for an image, and the side of the image in it as a share of the original's. */
async function reduce(file, image) {
  const share = Math.sqrt(LARGE_PIXELS / (image.width * image.height));
  if (share >= 1) return [file, 1];
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width * share, image.height * share];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return [await new Promise((resolve) => canvas.toBlob(resolve, file.type)), share];
}

function showImage(image, share) {
  const scale = Math.min(pad.width / image.width, pad.height / image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  place = { x: (pad.width - width) / 2, y: (pad.height - height) / 2, scale: scale / share };
  brush.drawImage(image, place.x, place.y, width, height);
  showsImage = true;
  frame.classList.remove("strokes");
}

// --- mouse, finger, pen

let pointer = null; // the pointer that draws; a palm beside the pen does not
let last = null;

function position(event) {
  const box = pad.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) * pad.width) / box.width,
    y: ((event.clientY - box.top) * pad.height) / box.height,
  };
}

pad.addEventListener("pointerdown", (event) => {
  const takesOver = event.pointerType === "pen" && pointer?.type === "touch";
  if (event.button !== 0 || (pointer !== null && !takesOver)) return;
  pointer = { id: event.pointerId, type: event.pointerType };
  pad.setPointerCapture(event.pointerId);
  pen.hidden = true;
  last = position(event);
  stroke(last, last);
});

pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer?.id) return;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const point of (events.length ? events : [event]).map(position)) {
    stroke(last, point);
    last = point;
  }
});

for (const end of ["pointerup", "pointercancel"]) {
  pad.addEventListener(end, (event) => {
    if (event.pointerId === pointer?.id) pointer = null;
  });
}

// --- keyboard

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const tip = { x: pad.width / 2, y: pad.height / 4 };
let lowered = false;

function showPen() {
  pen.hidden = false;
  pen.classList.toggle("down", lowered);
  pen.style.left = `${(100 * tip.x) / pad.width}%`;
  pen.style.top = `${(100 * tip.y) / pad.height}%`;
}

function movePen([right, down]) {
  const step = pad.width * KEY_STEP_SHARE;
  const from = { ...tip };
  tip.x = Math.min(Math.max(tip.x + right * step, 0), pad.width);
  tip.y = Math.min(Math.max(tip.y + down * step, 0), pad.height);
  if (lowered) stroke(from, tip);
}

pad.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in DIRECTIONS) {
    movePen(DIRECTIONS[event.key]);
  } else if (event.key === " ") {
    lowered = !lowered;
    if (lowered) stroke(tip, tip);
    speak(lowered ? "pen down" : "pen up");
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clearPad();
  } else {
    return;
  }
  event.preventDefault();
  showPen();
});

pad.addEventListener("blur", () => {
  pen.hidden = true;
  lowered = false;
});

// --- buttons and files

element("clear").addEventListener("click", clearPad);
element("open").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) openImage(file);
  event.target.value = "";
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  frame.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) frame.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  frame.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) openImage(file);
});

// --- prediction

async function predict() {
  if (!isReady) return; // `start` predicts what is on the pad
  if (isPredicting) {
    predictAgain = true;
    return;
  }
  isPredicting = true;
  const requested = drawingNumber;
  try {
    const image = openedFile ?? (await new Promise((resolve) => pad.toBlob(resolve)));
    const query = readsNumbers ? "?digits=many&input=1" : "?input=1";
    const response = await request(predictPath() + query, { method: "POST", body: image });
    const result = await response.json();
    if (requested !== drawingNumber) {
      // The pad has been cleared, or another model chosen, in the meantime.
    } else if (!response.ok) {
      showProblem(result.error);
    } else if ((result.digits?.[0] ?? result).probabilities.length !== classes.length) {
      start(); // a new champion has other classes
    } else {
      showResult(result);
    }
  } catch {
    if (requested === drawingNumber) showProblem(NO_ANSWER);
  }
  isPredicting = false;
  if (predictAgain) {
    predictAgain = false;
    predict();
  }
}

// --- feedback

element("true-class").addEventListener("change", () => {
  element("send").disabled = element("true-class").value === "";
});

element("send").addEventListener("click", async () => {
  const id = shownId;
  const say = (text) => {
    if (id === shownId) element("thanks").textContent = text;
  };
  try {
    const body = JSON.stringify({ id, class_name: element("true-class").value });
    const response = await request("feedback", { method: "POST", body });
    const result = await response.json();
    say(response.ok ? `saved: ${result.class_name}` : result.error);
  } catch {
    say(NO_ANSWER);
  }
});

function offerFeedback(id) {
  shownId = id;
  element("true-class").value = "";
  element("send").disabled = true;
  element("thanks").textContent = "";
}

// --- results

function showClasses() {
  bars.replaceChildren(
    ...classes.map((name) => {
      const row = document.createElement("li");
      for (const kind of ["name", "track", "share"]) {
        row.append(Object.assign(document.createElement("span"), { className: kind }));
      }
      const [label, track, share] = row.children;
      label.textContent = name;
      track.append(Object.assign(document.createElement("span"), { className: "fill" }));
      share.textContent = percent(0);
      return row;
    }),
  );
}

function showShares(shares, best) {
  [...bars.children].forEach((row, index) => {
    row.classList.toggle("best", index === best);
    row.querySelector(".fill").style.width = `${100 * shares[index]}%`;
    row.querySelector(".share").textContent = percent(shares[index]);
  });
}

function showClass(name) {
  element("class").textContent = name;
  element("class").classList.toggle("long", name.length > 3);
}

function showResult({ digits, ...result }) {
  if (digits === undefined || digits.length === 1) {
    showPrediction({ ...result, ...digits?.[0] });
  } else {
    showNumber(result, digits);
  }
  showSteps(result.steps);
  element("timing").textContent = `${result.model}, version ${result.version}, in ${result.milliseconds.toFixed(1)} ms`;
}

function showNumber({ text }, digits) {
  const shares = digits.map(({ probabilities, label }) => probabilities[label]);
  showNothing();
  showClass(text);
  element("certainty").textContent = `${digits.length} digits, the least certain at ${percent(Math.min(...shares))}`;
  showSeveral(digits);
  speakLater(text.split("").join(" "));
}

function certainty({ probabilities, label, uncertain, reason, prediction_set: names = [] }) {
  if (uncertain) return `uncertain: ${reason}`;
  const others = names.slice(1).join(", ");
  return `${percent(probabilities[label])} sure${others && `, else ${others}`}`;
}

function showPrediction(result) {
  showClass(result.class_name);
  element("certainty").className = "";
  element("certainty").textContent = certainty(result);
  showShares(result.probabilities, result.label);
  drawPixels(modelInput, result.input);
  showSeveral([]);
  offerFeedback(result.id);
  element("feedback").hidden = !takesFeedback;
  speakLater(`${result.class_name}, ${certainty(result)}`);
}

/** Show the digits of a number with their boxes; with none, what is shown for a single digit. */
function showSeveral(digits) {
  element("bars").hidden = element("input").hidden = digits.length > 0;
  showDigits(digits);
  showBoxes(digits, place, pad);
}

function showNothing() {
  clearTimeout(speakTimer);
  showClass("–");
  element("certainty").className = "";
  element("certainty").textContent = "\u00a0";
  element("timing").textContent = "\u00a0";
  showShares(classes.map(() => 0), -1);
  offerFeedback(null);
  element("feedback").hidden = true;
  modelInput.getContext("2d").clearRect(0, 0, INPUT_SIDE, INPUT_SIDE);
  showSeveral([]);
  showSteps([]);
}

function showProblem(problem) {
  showNothing();
  element("certainty").className = "problem";
  element("certainty").textContent = problem;
  speak(problem);
}

function speakLater(text) {
  clearTimeout(speakTimer);
  speakTimer = setTimeout(() => speak(text), SPEAK_AFTER_MS);
}

function speak(text) {
  element("spoken").textContent = text;
}

// --- models

element("models").addEventListener("change", (event) => {
  chosenModel = event.target.value;
  history.replaceState(null, "", `?model=${encodeURIComponent(chosenModel)}`);
  start();
});

/** Show the chosen model, and predict what is on the pad. */
function start() {
  isReady = false;
  loadModel(predictPath(), chosenModel === null ? null : "predict", showModel, showProblem);
}

function showModel(model) {
  offerModels(model.models, model.model);
  element("generated").hidden = !model.generators.length;
  classes = model.classes;
  takesFeedback = model.takes_feedback;
  readsNumbers = model.preprocessing === "digit";
  element("true-class").replaceChildren(...["", ...classes].map((name) => new Option(name || "choose", name)));
  const areDigits = classes.every((name) => /^\d$/.test(name));
  element("title").textContent = areDigits ? "Draw a digit" : "Draw or open an image";
  const accuracy = model.metrics.accuracy;
  const quality = accuracy === undefined ? "" : `, ${percent(accuracy)} accuracy on the test split`;
  element("model").textContent = `${model.model}, version ${model.version}${quality}`;
  showClasses();
  isReady = true;
  forgetPrediction();
  if (element("invitation").hidden) changed();
}

start();
