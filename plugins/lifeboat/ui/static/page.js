"use strict";
// Fetches the pieces of the page, and hands every action to Airflow's own API with the user's session.

const API = new URL("../api/v2/", document.baseURI);
const POLL_SECONDS = 2;
const STALE_SECONDS = 60; // then a visible page refreshes itself
const LONGEST_PAUSE_SECONDS = 30; // between two questions for what does not answer
const HEAD_START_MILLISECONDS = 400;
const FOCUSABLE = "a[href], button, summary, [tabindex]";
const may = new Set(document.body.dataset.may.split(" "));
const dags = new Map(); // by id, as Airflow's API returns them
let tonight = ""; // when the next clean-up runs
let readAt = Date.now();

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// ---- The pieces

async function load(place, options = {}) {
  clearTimeout(place.retry);
  place.latest?.abort();
  place.latest = new AbortController();
  if (!options.again) place.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(`${place.dataset.src}?${query(place, options)}`, { signal: place.latest.signal });
    const text = await answer.text();
    if (place.dataset.form === "what-if") tellMistake(answer.status === 422 ? text : "");
    if (answer.ok || (answer.status === 422 && place.dataset.form !== "what-if")) show(place, text);
    else if (answer.status !== 422) complain(place, answer.status);
    askAgain(place, Number(answer.headers.get("Retry-After")), options);
  } catch (error) {
    if (error.name === "AbortError") return;
    complain(place);
  }
  place.setAttribute("aria-busy", "false");
}

function query(place, { fresh } = {}) {
  const form = document.getElementById(place.dataset.form ?? "");
  const asks = form && (form.id !== "what-if" || isChanged(form));
  const parameters = new URLSearchParams(asks ? new FormData(form) : {});
  if (place.dataset.for === "tonight" && tonight) parameters.set("at", tonight);
  if (place.dataset.src === "answers") for (const dag of dags.values()) if (dag.is_paused) parameters.append("paused", dag.dag_id);
  if (fresh) parameters.set("fresh", "true");
  return parameters;
}

function askAgain(place, seconds, { again }) {
  if (!seconds) return;
  place.pause = again && !("live" in place.dataset) ? Math.min(place.pause * 2, LONGEST_PAUSE_SECONDS) : seconds;
  place.retry = setTimeout(() => load(place, { again: true }), place.pause * 1000);
}

// Keep the reading position and the input of a piece: what is the same stays, and what is new opens as it was.
function show(place, text) {
  place.readAt = new Date();
  place.classList.remove("stale");
  find(".as-of", place)?.remove();
  if (place.shown === text) return;
  const opened = all("tr.contents", place).map((row) => [row.previousElementSibling.dataset.keep, row]);
  const folds = new Map(all("details[data-keep]", place).map((fold) => [fold.dataset.keep, fold.open]));
  const active = document.activeElement;
  const attached = all("[data-to]", place);
  const focusAgain = active !== place && place.contains(active) ? bookmark(active) : () => {};
  place.innerHTML = text;
  place.shown = text;
  for (const fold of all("details[data-keep]", place)) fold.open = folds.get(fold.dataset.keep) ?? fold.open;
  for (const run of attached) kept(place, run.dataset.to)?.after(run);
  for (const [key, contents] of opened) {
    const row = kept(place, key);
    row?.after(contents);
    if (row) find("[data-contents]", row).setAttribute("aria-expanded", "true");
  }
  arm(place);
  focusAgain();
  place.afterShow?.();
}

function kept(place, key) {
  return all("[data-keep]", place).find((each) => each.dataset.keep === key);
}

function bookmark(marked) {
  const place = marked.closest("[data-src]");
  const key = marked.closest("[data-keep]")?.dataset.keep;
  const around = () => (key === undefined ? place : kept(place, key));
  const number = place ? all(FOCUSABLE, around()).indexOf(marked) : -1;
  return () => {
    const again = marked.isConnected || !place ? marked : around() && all(FOCUSABLE, around())[number];
    if (!again) place.tabIndex = -1;
    (again ?? place).focus({ preventScroll: true });
  };
}

function complain(place, status) {
  const reasons = { 401: "Your session has ended: log in again.", 403: "You may not see this." };
  const reason = reasons[status] ?? "Airflow does not answer.";
  if (reasons[status] || place.shown === undefined) {
    place.shown = undefined;
    place.replaceChildren(element("p", { className: "error", textContent: reason }));
    return;
  }
  // What was read last stays: the way back is for this very day.
  const asOf = place.readAt.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: document.body.dataset.zone });
  find(".as-of", place)?.remove();
  place.classList.add("stale");
  place.prepend(element("p", { className: "error as-of", textContent: `${reason} This is as of ${asOf}, ${document.body.dataset.zone}.` }));
}

async function refresh() {
  readAt = Date.now();
  if (!find("[data-src=answers]")) return location.reload(); // the settings may have been fixed
  await learnDags().catch(() => {}); // what Airflow said before still stands
  await load(find("[data-src=answers]"), { fresh: true }); // makes the listings that the other pieces share
  arm();
  await loadTheRest();
}

function refreshWhenStale() {
  const stale = Date.now() - readAt >= STALE_SECONDS * 1000;
  // What somebody is about to copy stays under his hand.
  if (stale && document.visibilityState === "visible" && getSelection().isCollapsed) refresh();
}

function loadTheRest() {
  return Promise.all(all("[data-src]:not([data-src=answers])").map((place) => load(place)));
}

// ---- What Airflow says of the DAGs

async function api(method, path, body) {
  const answer = await fetch(new URL(path, API), {
    method,
    headers: { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const detail = typeof content.detail === "string" ? content.detail.split("\n")[0] : answer.statusText;
  throw new Error(detail || `Airflow answered ${answer.status}.`);
}

async function learnDags() {
  const known = await api("GET", "dags?tags=lifeboat&limit=100");
  dags.clear();
  for (const dag of known.dags) dags.set(dag.dag_id, dag);
  for (const place of all("[data-next]")) find("span", place).replaceChildren(...nextRun(dags.get(place.dataset.next)));
  const cleanup = dags.get("backup_cleanup");
  tonight = (!cleanup?.is_paused && cleanup?.next_dagrun_run_after) || "";
  const when = tonight ? `As things stand, at the next clean-up, ${moment(tonight)}.` : "As things stand now.";
  const paused = cleanup?.is_paused ? " backup_cleanup is paused: nothing is deleted until somebody unpauses it." : "";
  find("#cleanup").textContent = when + paused;
}

function nextRun(dag) {
  if (!dag) return ["not here, or not yours to see"];
  if (dag.is_paused) return [element("span", { className: "badge degraded", textContent: "paused" })];
  return [dag.next_dagrun_run_after ? moment(dag.next_dagrun_run_after) : dag.timetable_description || "manual only"];
}

function moment(text) {
  const time = new Date(text);
  const day = time - Date.now() > 6 * 86400000 ? { day: "numeric", month: "short", year: "numeric" } : { weekday: "short" };
  const options = { ...day, hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: document.body.dataset.zone };
  const hours = Math.round((time - Date.now()) / 3600000);
  const distance = hours < 1 ? "within the hour" : hours < 48 ? `in ${hours} h` : `in ${Math.round(hours / 24)} days`;
  return `${time.toLocaleString("en-GB", options)} (${distance})`;
}

// ---- Buttons

function arm(within = document) {
  for (const button of all("[data-dag]", within)) {
    const id = button.dataset.dag;
    const reason = !may.has(id) ? "You may not trigger this DAG." : !dags.has(id) ? `There is no DAG ${id} here.` : button.dataset.obstacle ?? "";
    button.disabled = reason !== "";
    button.title = reason;
  }
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("button, a");
  if (!target) return;
  if (target.dataset.dag) openForm(target);
  else if ("refresh" in target.dataset) refresh();
  else if ("close" in target.dataset) find("#form").close();
  else if ("copy" in target.dataset) copy(target);
  else if ("contents" in target.dataset) toggleContents(target);
  else if ("more" in target.dataset) {
    find("#filters").elements.limit.value = target.dataset.more;
    load(find("[data-src=archives]"));
  } else if ("airflow" in target.dataset) {
    event.preventDefault();
    leave(target.href);
  }
});

// The sandbox of the iframe forbids links out of it, and a link within it would nest Airflow's UI in itself.
function leave(address) {
  const link = element("a", { href: address });
  window.parent.document.body.append(link);
  link.click();
  link.remove();
}

async function copy(button) {
  const text = find("pre", button.parentElement);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text); // without HTTPS there is no clipboard
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

function toggleContents(button) {
  const row = button.closest("tr");
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) return row.nextElementSibling.remove();
  const cell = element("td", { colSpan: row.cells.length, ariaLive: "polite" }, element("p", { className: "quiet", textContent: "Reading…" }));
  row.after(element("tr", { className: "contents" }, cell));
  fetch(`contents?key=${encodeURIComponent(button.dataset.contents)}`)
    .then(async (answer) => (answer.ok ? (cell.innerHTML = await answer.text()) : complain(cell, answer.status)))
    .catch(() => complain(cell));
}

// ---- Runs

async function start(dag, fields, button) {
  const problem = find("#form-error");
  find("#form-go").disabled = true;
  try {
    const conf = Object.fromEntries(fields.map((made) => [made.name, made.read()]));
    const run = await api("POST", `dags/${dag.dag_id}/dagRuns`, { logical_date: null, conf });
    find("#form").close();
    follow(run, button);
    if (dag.is_paused) await unpause(dag.dag_id);
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
  find("#form-go").disabled = false;
}

// Only after the run was accepted: what was refused must not set a schedule going.
async function unpause(id) {
  try {
    await api("PATCH", `dags/${id}`, { is_paused: false });
  } catch (error) {
    tell("unhealthy", `${id} is paused, and the run waits until somebody unpauses it. You could not: ${error.message}`);
  }
}

function tell(tone, ...words) {
  find("#runs").prepend(element("p", { className: `notice ${tone}` }, ...words));
}

// ---- Filters, and the policy tried out

function isChanged(form) {
  return all("input", form).some((input) => input.value !== input.dataset.default);
}

function tellMistake(text) {
  const place = find("#what-if-error");
  place.innerHTML = text;
  place.hidden = text === "";
  for (const input of all("#what-if input")) input.setAttribute("aria-invalid", String(text.includes(input.name)));
}

let pause;
const tryPolicy = () => {
  clearTimeout(pause);
  pause = setTimeout(() => all("[data-form=what-if]").forEach((place) => load(place)), 250);
};

find("#filters")?.addEventListener("change", (event) => {
  if (event.target.name !== "limit") event.currentTarget.elements.limit.value = 15;
  load(find("[data-src=archives]"));
});
find("#what-if")?.addEventListener("input", tryPolicy);
find("#what-if")?.addEventListener("reset", tryPolicy);
for (const form of all("#filters, #what-if")) form.addEventListener("submit", (event) => event.preventDefault());

// ---- Begin: first the answers, with a head start before the rest; they need to know when tonight is

async function begin() {
  find("#looking").hidden = [...may].some(Boolean);
  await learnDags().catch(() => {});
  arm();
  const headStart = new Promise((resolve) => setTimeout(resolve, HEAD_START_MILLISECONDS));
  await Promise.race([load(find("[data-src=answers]")), headStart]);
  loadTheRest();
}

if (find("main [data-src]")) begin();
setInterval(refreshWhenStale, POLL_SECONDS * 1000);
document.addEventListener("visibilitychange", refreshWhenStale);
