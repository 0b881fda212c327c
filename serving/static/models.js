"use strict";

// The choice of a model, and what is said when the server does not respond.

const REQUEST_MS = 30_000;
const RETRY_MS = 3_000;
const NO_ANSWER = "the server does not respond";

let starts = 0; // incremented when a model is asked for, so that answers about an earlier one are ignored

const request = (path, options = {}) => fetch(path, { ...options, signal: AbortSignal.timeout(REQUEST_MS) });

function offerModels(names, current) {
  const choose = current === null ? [new Option("choose", "", true, true)] : [];
  element("models").replaceChildren(...choose, ...names.map((name) => new Option(name, name, false, name === current)));
  element("choice").hidden = names.length < 2 && current !== null;
}

/**
 * Ask for the model at `path`; without an answer, try again later.
 *
 * If there is no such model, those of the model at `defaultPath` are offered, which is null where `path` is that.
 */
async function loadModel(path, defaultPath, onModel, onProblem) {
  const requested = ++starts;
  try {
    const response = await request(path);
    const model = await response.json();
    const others = response.status === 404 && defaultPath ? await (await request(defaultPath)).json() : null;
    if (requested !== starts) return;
    if (response.ok) {
      onModel(model);
    } else {
      onProblem(model.error);
      if (others?.models) offerModels(others.models, null);
    }
  } catch {
    if (requested !== starts) return;
    onProblem(NO_ANSWER);
    setTimeout(() => requested === starts && loadModel(path, defaultPath, onModel, onProblem), RETRY_MS);
  }
}
