"use strict";
// The form of a DAG: Airflow's own cannot be opened with values of ours, so this one is made of the same parameters.

async function openForm(button) {
  const dialog = find("#form");
  const id = button.dataset.dag;
  const chosen = JSON.parse(button.dataset.conf);
  find("#form-title").textContent = button.textContent.replace("…", "");
  find("#form-error").hidden = true;
  let dag;
  try {
    dag = await api("GET", `dags/${id}/details`);
  } catch (error) {
    return tell("unhealthy", `${id}: ${error.message}`);
  }
  const paused = dag.is_paused ? " This DAG is paused. Starting it also re-enables its schedule." : "";
  find("#form-text").textContent = `This triggers ${id}.${paused}`;
  const fields = Object.entries(dag.params).map(([name, param]) => field(name, param, chosen[name]));
  const safe = fields.filter((made) => !made.dangerous).map((made) => made.whole);
  find("#form-fields").replaceChildren(...safe, ...danger(fields.filter((made) => made.dangerous)));
  offerOwn(fields);
  find("form", dialog).onsubmit = (event) => {
    event.preventDefault();
    start(dag, fields, button);
  };
  dialog.onclose = bookmark(button);
  dialog.showModal();
}

function field(name, { schema, value, description }, chosen) {
  const initial = chosen ?? value;
  const types = [schema.type].flat();
  const made = types.includes("array") ? listField(schema, initial) : simpleField(schema, types, initial);
  made.input.name = name;
  const title = schema.title ?? name.replaceAll("_", " ");
  const help = element("span", { id: `help-${name}`, className: "quiet", textContent: schema.description ?? description ?? "" });
  made.input.setAttribute("aria-describedby", help.id);
  return { ...made, name, section: schema.section, dangerous: schema.dangerous, whole: element("div", {}, labelled(made.input, title), help) };
}

function labelled(input, title) {
  if (input.type === "checkbox") return element("label", { className: "tick" }, input, title);
  if (input.localName !== "fieldset") return element("label", {}, title, input);
  input.prepend(element("legend", { textContent: title }));
  return input;
}

function simpleField(schema, types, initial) {
  if (schema.enum) return choiceField(schema.enum, initial);
  if (types.includes("boolean")) {
    const input = element("input", { type: "checkbox", checked: Boolean(initial) });
    return { input, read: () => input.checked };
  }
  const isNumber = types.includes("integer") || types.includes("number");
  const text = typeof initial === "object" && initial !== null ? JSON.stringify(initial) : initial ?? "";
  const input = element("input", { type: isNumber ? "number" : "text", value: text });
  const empty = types.includes("null") ? null : "";
  limit(input, schema, empty === null);
  return { input, read: () => (input.value === "" ? empty : isNumber ? Number(input.value) : parsed(input.value, types)) };
}

function choiceField(choices, initial) {
  const options = choices.map((choice) => new Option(choice ?? "", String(choice), false, choice === initial));
  const open = !choices.includes(initial); // then the user has to choose: none of them is a default
  if (open) options.unshift(new Option("Choose…", "", true, true));
  const input = element("select", { required: open }, ...options);
  return { input, read: () => choices[input.selectedIndex - open] };
}

function limit(input, schema, mayBeEmpty) {
  input.required = !mayBeEmpty && (schema.minLength > 0 || input.type === "number");
  if (schema.minLength !== undefined) input.minLength = schema.minLength;
  if (schema.maxLength !== undefined) input.maxLength = schema.maxLength;
  if (schema.pattern === undefined) return;
  const pattern = new RegExp(schema.pattern, "u"); // HTML's own attribute would have to fit the whole text
  const fits = () => (mayBeEmpty && input.value === "") || pattern.test(input.value);
  const check = () => input.setCustomValidity(fits() ? "" : `This does not match ${schema.pattern}`);
  input.addEventListener("input", check);
  check();
}

function parsed(text, types) {
  return types.includes("object") ? JSON.parse(text) : text;
}

function listField(schema, initial) {
  const names = [...new Set([...(schema.examples ?? schema.items?.enum ?? []), ...(initial ?? [])])];
  return names.length ? ticksField(names, schema.by_application, initial) : linesField(initial);
}

function ticksField(names, own, initial) {
  const boxes = names.map((name) => element("input", { type: "checkbox", value: name, checked: Boolean(initial?.includes(name)) }));
  const input = element("fieldset", {}, ...boxes.map((box) => labelled(box, box.value)));
  const offer = (application) => {
    for (const box of boxes) {
      box.parentElement.hidden = !(own?.[application] ?? names).includes(box.value);
      box.checked &&= !box.parentElement.hidden;
    }
  };
  return { input, offer, read: () => boxes.filter((box) => box.checked).map((box) => box.value) };
}

function linesField(initial) {
  const input = element("textarea", { rows: 2, spellcheck: false, placeholder: "One per line", value: (initial ?? []).join("\n") });
  const lines = () => input.value.split("\n").map((line) => line.trim());
  return { input, read: () => lines().filter(Boolean) };
}

// Of databases and destinations, only those of the chosen application.
function offerOwn(fields) {
  const application = fields.find((made) => made.name === "application");
  if (!application) return;
  const offer = () => fields.forEach((made) => made.offer?.(application.read()));
  application.input.addEventListener("change", offer);
  offer();
}

// What costs something that exists stands apart, and takes a second look.
function danger(fields) {
  if (!fields.length) return [];
  const sure = element("input", { type: "checkbox" });
  const asked = element("span");
  const question = element("label", { className: "tick" }, sure, asked);
  const apart = element("fieldset", { className: "danger" }, element("legend", { textContent: fields[0].section }), ...fields.map((made) => made.whole), question);
  const weigh = () => {
    const names = fields.flatMap((made) => made.read() ?? []);
    question.hidden = !names.length;
    sure.required = names.length > 0;
    sure.checked = false; // for other names
    asked.textContent = `Yes, replace ${names.join(", ")}.`;
  };
  apart.addEventListener("input", (event) => event.target !== sure && weigh());
  weigh();
  return [apart];
}
