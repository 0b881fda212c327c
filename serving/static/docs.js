"use strict";

const INDENT = "  ";

let api = null;

function element(kind, content, attributes = {}) {
  const made = document.createElement(kind);
  made.append(...[content].flat());
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function dereference(node) {
  if (!node || !node.$ref) return node;
  return node.$ref.slice(2).split("/").reduce((tree, key) => tree[key], api);
}

/** Format a schema like an example value, with types in place of values. */
function format(schema, indent = "") {
  const node = dereference(schema) || {};
  if (node.oneOf) return node.oneOf.map((one) => format(one, indent)).join(`\n${indent}or\n${indent}`);
  const note = node.description ? `  // ${node.description}` : "";
  if (node.properties) {
    const inner = indent + INDENT;
    const lines = Object.entries(node.properties).map(([name, value]) => {
      const optional = (node.required || []).includes(name) ? "" : "?";
      return `${inner}"${name}"${optional}: ${format(value, inner)}`;
    });
    return `{${note}\n${lines.join("\n")}\n${indent}}`;
  }
  if (node.items) return `[${format(node.items, indent)}, ...]`;
  const kind = node.enum ? node.enum.join(" | ") : [node.type || "anything"].flat().join(" | ");
  return (node.format ? `${kind} (${node.format})` : kind) + note;
}

function contents(content) {
  const kinds = new Map();
  for (const [media, { schema }] of Object.entries(content || {})) {
    const text = format(schema);
    kinds.set(text, [...(kinds.get(text) || []), media]);
  }
  // Scrollable blocks have to be reachable by keyboard.
  return [...kinds].flatMap(([text, media]) => [
    element("p", media.join(", "), { class: "quiet" }),
    element("pre", text, { tabindex: "0", "aria-label": `Schema of ${media.join(", ")}` }),
  ]);
}

function table(entries) {
  return element("dl", entries.flatMap(([term, meaning]) => [
    element("dt", element("code", term)),
    element("dd", meaning),
  ]));
}

function endpoint(path, method, operation) {
  const parts = [element("summary", [
    element("span", method.toUpperCase(), { class: "method" }),
    element("code", path),
    element("span", operation.summary, { class: "quiet" }),
  ])];
  if (operation.description) parts.push(element("p", operation.description));
  if (operation.parameters.length) {
    parts.push(element("h3", "Parameters"), table(operation.parameters.map(dereference).map((parameter) => [
      parameter.name,
      [`in the ${parameter.in}`, parameter.description].filter(Boolean).join(": "),
    ])));
  }
  if (operation.requestBody) parts.push(element("h3", "Request body"), ...contents(operation.requestBody.content));
  const responses = Object.entries(operation.responses).map(([status, response]) => [status, dereference(response)]);
  const success = responses.find(([status]) => status === "200");
  if (success) parts.push(element("h3", "Response"), ...contents(success[1].content));
  const errors = responses.filter(([status]) => status !== "200");
  if (errors.length) {
    parts.push(element("h3", "Errors"), table(errors.map(([status, response]) => [status, response.description])));
  }
  return element("details", parts);
}

async function show() {
  const endpoints = document.getElementById("endpoints");
  try {
    api = await (await fetch("openapi.json")).json();
  } catch {
    endpoints.append(element("p", "The server does not respond. Reload this page.", { class: "problem" }));
    return;
  }
  document.getElementById("about").textContent = `${api.info.summary}. ${api.info.description}`;
  for (const { name } of api.tags) {
    const section = element("section", element("h2", name));
    for (const [path, { parameters: shared = [], ...methods }] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const parameters = [...shared, ...(operation.parameters || [])];
        if (operation.tags.includes(name)) section.append(endpoint(path, method, { ...operation, parameters }));
      }
    }
    endpoints.append(section);
  }
  endpoints.removeAttribute("aria-busy");
}

show();
