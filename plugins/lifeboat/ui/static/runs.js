"use strict";
// A run that was started here is shown where its button is, until it is over.

function follow(run, button) {
  const notice = element("div", { className: "notice followed", ariaLive: "off" });
  notice.dataset.src = `runs/${encodeURIComponent(run.dag_id)}/${encodeURIComponent(run.dag_run_id)}`;
  notice.dataset.live = "";
  notice.afterShow = () => followed(notice, run);
  const inside = button.closest("tr.contents");
  put(notice, inside ? inside.previousElementSibling : button.closest("tr[data-keep], .newest[data-keep]"));
  for (const place of [notice, ...all("[data-src=runs]")]) load(place);
}

// Beneath its row, also when that is drawn again; a run without a row is shown at the top.
function put(notice, row) {
  if (!row) return find("#runs").prepend(notice);
  const cells = row.cells?.length;
  const attached = cells ? element("tr", { className: "attached" }, element("td", { colSpan: cells }, notice)) : notice;
  attached.dataset.to = row.dataset.keep;
  (row.nextElementSibling?.matches("tr.contents") ? row.nextElementSibling : row).after(attached);
}

function followed(notice, run) {
  const shown = find(".run", notice);
  if (!shown || shown.dataset.state === notice.state) return;
  notice.state = shown.dataset.state;
  find("#told").textContent = `${run.dag_id}: ${notice.state}`;
  if (!("over" in shown.dataset)) return;
  delete notice.dataset.src; // nothing of it changes any more
  refresh();
}
