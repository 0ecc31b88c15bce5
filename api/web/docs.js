// Draws the OpenAPI document as a page to read. Sends nothing but the request for that document.

import { make } from "./element.js";

const api = await (await fetch("openapi.json")).json();
const content = document.getElementById("content");

// The little markup that the descriptions use: `code`, **strong** and paragraphs.
function prose(text) {
  return text.trim().split(/\n\s*\n/).map((paragraph) => make("p", {}, ...paragraph.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((piece) => {
    if (piece.startsWith("`")) return make("code", { textContent: piece.slice(1, -1) });
    if (piece.startsWith("**")) return make("strong", { textContent: piece.slice(2, -2) });
    return piece;
  })));
}

function resolved(schema) {
  return schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema ?? {};
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  return schema.type ?? "anything";
}

// An instance that fits the schema, from its own examples and defaults where it has some.
function example(schema, depth = 0) {
  const own = resolved(schema);
  if (own.examples?.length) return own.examples[0];
  if (own.default !== undefined) return own.default;
  if (own.enum) return own.enum[0];
  if (own.const !== undefined) return own.const;
  if (own.anyOf) return example(own.anyOf[0], depth);
  if (depth > 5) return null;
  if (own.type === "array") return [example(own.items ?? {}, depth + 1)];
  if (own.type === "object" || own.properties) {
    return Object.fromEntries(Object.entries(own.properties ?? {}).map(([name, part]) => [name, example(part, depth + 1)]));
  }
  return { string: own.format === "date-time" ? "2026-11-22T12:00:00Z" : "text", integer: 0, number: 0, boolean: false }[own.type] ?? null;
}

function table(rows) {
  return make("table", {}, make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell, index) =>
    make(index === 0 ? "th" : "td", {}, ...(typeof cell === "string" ? [cell] : [cell])))))));
}

function fields(schema) {
  return table(Object.entries(resolved(schema).properties ?? {}).map(([name, part]) => {
    const type = part.properties ? "JSON object" : typeOf(part);
    const fallback = part.default !== undefined && part.default !== null ? `, default ${JSON.stringify(part.default)}` : "";
    const cell = make("div", {}, ...(part.description ? prose(part.description) : []));
    if (part.properties) cell.append(fields(part));
    return [make("code", { textContent: name }), type + fallback, cell];
  }));
}

function operation(method, path, details) {
  const parts = prose(details.description ?? "");
  const parameters = details.parameters ?? [];
  if (parameters.length > 0) {
    parts.push(make("h3", { textContent: "Parameters" }), table(parameters.map((one) =>
      [make("code", { textContent: one.name }), `${one.in}, ${typeOf(one.schema ?? {})}`, make("div", {}, ...prose(one.description ?? ""))])));
  }
  for (const [type, body] of Object.entries(details.requestBody?.content ?? {})) {
    parts.push(make("h3", { textContent: `Body: ${type}` }), fields(body.schema));
    for (const one of Object.values(body.examples ?? {})) parts.push(make("pre", { textContent: JSON.stringify(one.value, null, 2) }));
  }
  for (const [status, answer] of Object.entries(details.responses)) {
    if (status === "default") continue;
    parts.push(make("h3", { textContent: `Answer ${status}` }), ...prose(answer.description ?? ""));
    const schema = answer.content?.["application/json"]?.schema;
    if (schema && Object.keys(schema).length > 0) parts.push(make("pre", { textContent: JSON.stringify(example(schema), null, 2) }));
  }
  return make("section", {}, make("details", {},
    make("summary", {}, make("span", { className: "method", textContent: method.toUpperCase() }), make("code", { textContent: path }), ` ${details.summary ?? ""}`),
    ...parts));
}

document.getElementById("title").textContent = `${api.info.title} ${api.info.version}: HTTP interface`;
const drawn = [...prose(api.info.description)];
for (const tag of api.tags) {
  drawn.push(make("h2", { textContent: tag.name }), ...prose(tag.description));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, details] of Object.entries(methods)) {
      if (details.tags?.includes(tag.name)) drawn.push(operation(method, path, details));
    }
  }
}
drawn.push(make("h2", { textContent: "Errors" }), make("pre", { textContent: JSON.stringify(api.components.schemas.Problem.examples[0], null, 2) }));
content.replaceChildren(...drawn);
content.setAttribute("aria-busy", "false");
