// Options of an encode or a decode, made into controls from what the service's own description says of them.

import { read } from "./client.js";
import { make } from "./element.js";

let description = null;
function schemaOf(path, type) {
  description ??= read("openapi.json");
  return description.then((api) => {
    const schema = api.paths[path].post.requestBody.content[type].schema;
    return resolved(api, schema.properties?.options ?? schema).properties;
  });
}

export const encodeSchema = () => schemaOf("/v1/images", "multipart/form-data");
export const decodeSchema = () => schemaOf("/v1/images/{image_id}/reconstructions", "application/json");

function resolved(api, schema) {
  if (schema.$ref) return resolved(api, api.components.schemas[schema.$ref.split("/").at(-1)]);
  if (!schema.properties) return schema;
  return { ...schema, properties: Object.fromEntries(Object.entries(schema.properties).map(([name, part]) => [name, flat(api, part)])) };
}

// "A string or null" is a string that may be left out.
function flat(api, part) {
  const whole = part.$ref ? { ...resolved(api, part), ...part } : part;
  const choices = (whole.anyOf ?? whole.allOf ?? []).map((choice) => (choice.$ref ? resolved(api, choice) : choice));
  const real = choices.find((choice) => choice.type !== "null");
  return real ? { ...real, ...whole, anyOf: undefined } : whole;
}

const words = (name) => name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());

// The controls for these options, in this order. Only what was changed is part of `values()`.
export function controls(schema, names) {
  const parts = names.filter((name) => schema[name] && !schema[name].properties).map((name) => control(name, schema[name]));
  return {
    elements: parts.map((part) => part.element),
    values: () => Object.fromEntries(parts.map((part) => [part.name, part.value()]).filter(([, value]) => value !== undefined)),
  };
}

let controlsMade = 0;

// The hint describes the control; it is no part of its name.
function control(name, part) {
  const fallback = part.default ?? null;
  const input = inputFor(name, part, fallback);
  const isCheck = input.type === "checkbox";
  input.id = `option-${++controlsMade}`;
  const label = make("label", { htmlFor: input.id, textContent: words(name) });
  const element = make("div", { className: "field" }, isCheck ? make("div", { className: "check" }, input, label) : [label, input]);
  if (part.description) {
    const hint = make("small", { id: `${input.id}-hint`, textContent: part.description });
    input.setAttribute("aria-describedby", hint.id);
    element.append(hint);
  }
  return { name, element, value: () => valueOf(input, part, fallback) };
}

function inputFor(name, part, fallback) {
  if (part.enum) {
    const usual = fallback === null ? "the usual" : null;
    const choices = usual ? ["", ...part.enum] : part.enum;
    const select = make("select", { name }, ...choices.map((value) => make("option", { value: String(value), textContent: value === "" ? usual : String(value) })));
    select.value = fallback === null ? "" : String(fallback);
    return select;
  }
  if (part.type === "boolean") return make("input", { type: "checkbox", name, checked: fallback === true });
  if (part.type === "integer" || part.type === "number") {
    const input = make("input", { type: "number", name, step: part.type === "integer" ? 1 : "any", placeholder: fallback === null ? "the usual" : String(fallback) });
    const low = part.minimum ?? part.exclusiveMinimum;
    if (low !== undefined) input.min = low;
    // Beyond that a number of the browser's is not the one that was typed.
    if (part.type === "integer" || part.maximum !== undefined) input.max = Math.min(part.maximum ?? Infinity, Number.MAX_SAFE_INTEGER);
    return input;
  }
  return make("input", { type: "text", name, maxLength: part.maxLength ?? 4000 });
}

function valueOf(input, part, fallback) {
  if (input.type === "checkbox") return input.checked === (fallback === true) ? undefined : input.checked;
  if (input.value.trim() === "") return undefined;
  const isNumber = part.type === "integer" || part.type === "number" || (part.enum && typeof part.enum[0] === "number");
  const value = isNumber ? Number(input.value) : input.value.trim();
  return value === fallback ? undefined : value;
}
