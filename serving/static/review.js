"use strict";

// Reports that wait for a decision, one at a time. Keys work while the focus is in the report: nothing else has single keys.

const STORED_KEY = "mnistflow-admin-key";
const REPORTS = "feedback/reviews";
const REQUEST_MS = 30_000;

const element = (id) => document.getElementById(id);
const percent = (share) => `${(share * 100).toFixed(1)} %`;

let adminKey = sessionStorage.getItem(STORED_KEY); // until the tab is closed
let reports = []; // the ones to decide, the present one first
let decided = []; // the ones that were decided, the last one last
let waiting = 0; // number of reports without a decision, those included that are not loaded
let isBusy = false;

// --- server

class Refused extends Error {
  constructor(problem, status) {
    super(problem);
    this.status = status;
  }
}

async function call(method, body) {
  if (!/^[\x20-\xff]*$/.test(adminKey)) throw new Refused("this is not a valid key", 401); // nor a header
  const options = { method, body, headers: { authorization: `Bearer ${adminKey}` } };
  let response, result;
  try {
    response = await fetch(REPORTS, { ...options, signal: AbortSignal.timeout(REQUEST_MS) });
    result = await response.json();
  } catch {
    const status = response === undefined || response.ok ? "" : ` (${response.status})`; // of a proxy, in HTML
    throw new Refused(`the server does not respond${status}`, 0);
  }
  if (!response.ok) throw new Refused(result.error, response.status);
  return result;
}

/** Do one thing at a time, and say what was wrong with it; a key that the server refuses is asked for again. */
async function attempt(work) {
  if (isBusy) return;
  isBusy = true;
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 || error.status === 403) askForKey();
    say(error.message, true);
  } finally {
    isBusy = false;
  }
}

async function load() {
  const result = await call("GET");
  waiting = result.waiting;
  reports = result.reports;
  show();
}

async function decide(decision, className) {
  const report = reports[0];
  if (report === undefined) return;
  const { id, number, time } = report;
  try {
    await call("POST", JSON.stringify({ id, number, time, decision, class_name: className }));
  } catch (error) {
    // Gone or replaced meanwhile: the server has the newer state.
    if (error.status === 404 || error.status === 409) await load();
    throw error;
  }
  reports.shift();
  decided.push(report);
  waiting -= 1;
  const done = decision === "accept" ? `accepted as ${className}` : `rejected ${className}`;
  if (reports.length === 0 && waiting > 0) await load();
  else show();
  say(`${done}; ${waiting} left`);
}

async function undo() {
  const report = decided.at(-1);
  if (report === undefined) return;
  const { id, number, time, class_name: className } = report;
  await call("POST", JSON.stringify({ id, number, time, decision: null, class_name: className }));
  decided.pop();
  reports.unshift(report);
  waiting += 1;
  show();
  say(`undone; ${waiting} left`);
}

// --- what is shown

function say(text, isProblem = false) {
  element("state").textContent = text;
  element("state").classList.toggle("problem", isProblem);
}

function askForKey() {
  adminKey = null;
  sessionStorage.removeItem(STORED_KEY);
  element("report").hidden = element("empty").hidden = true;
  element("sign-in").hidden = false;
  element("key").value = "";
  element("key").focus();
}

function show() {
  const [report] = reports;
  element("sign-in").hidden = true;
  element("report").hidden = report === undefined && decided.length === 0;
  element("empty").hidden = report !== undefined;
  element("empty").textContent = "No report waits for a review.";
  for (const id of ["picture", "accept", "reject", "others", "others-caption"]) element(id).hidden = report === undefined;
  element("undo").disabled = decided.length === 0;
  if (report === undefined) showNothing();
  else showReport(report);
  if (!element("report").contains(document.activeElement)) element("report").focus();
}

function showNothing() {
  element("reported").textContent = "–";
  element("answered").textContent = element("origin").textContent = "";
}

function showReport(report) {
  const picture = element("picture");
  picture.height = report.image.length;
  picture.width = report.image[0].length;
  drawPixels(picture, report.image);
  element("reported").textContent = report.class_name;
  element("reported").classList.toggle("long", report.class_name.length > 3);
  element("answered").textContent =
    `The model predicted ${report.answered}; its probability of ${report.class_name} is ${percent(report.probability)}.`;
  const source = report.source === "" ? "a client without a key" : `source ${report.source}`;
  const moment = new Date(report.time * 1000).toLocaleString();
  element("origin").textContent = `${report.model}, version ${report.version}; by ${source}, ${moment}`;
  showKeys(report.classes);
  element("others").replaceChildren(
    ...report.classes.map((name) => {
      const isReported = name === report.class_name;
      const button = made("button", { type: "button", textContent: name, className: isReported ? "reported" : "" });
      button.setAttribute("aria-label", `Accept as ${name}`);
      button.addEventListener("click", () => attempt(() => decide("accept", name)));
      return button;
    }),
  );
}

/** Show the key of each action that has one: the key of a class of that name accepts the image as that class. */
function showKeys(classes) {
  const taken = new Set(classes.map((name) => name.toLowerCase()));
  for (const [key, id] of Object.entries({ a: "accept", r: "reject", u: "undo" })) {
    const button = element(id);
    button.querySelector("kbd").hidden = taken.has(key);
    if (taken.has(key)) button.removeAttribute("aria-keyshortcuts");
    else button.setAttribute("aria-keyshortcuts", key);
  }
}

// --- keys and buttons

const accept = () => attempt(() => decide("accept", reports[0]?.class_name));
const reject = () => attempt(() => decide("reject", reports[0]?.class_name));
const ACTIONS = { a: accept, r: reject, u: () => attempt(undo) };

element("report").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  const named = reports[0]?.classes.find((name) => name.toLowerCase() === key);
  if (named !== undefined) attempt(() => decide("accept", named));
  else if (key in ACTIONS) ACTIONS[key]();
  else return;
  event.preventDefault();
});
element("accept").addEventListener("click", accept);
element("reject").addEventListener("click", reject);
element("undo").addEventListener("click", ACTIONS.u);

element("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  adminKey = element("key").value.trim();
  attempt(async () => {
    await load();
    sessionStorage.setItem(STORED_KEY, adminKey);
    say(`${waiting} left`);
  });
});

if (adminKey === null) askForKey();
else attempt(load);
