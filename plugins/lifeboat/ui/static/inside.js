"use strict";
// What is in an archive: read when somebody opens it, and a folder at a time, for there may be very many files.

async function fill(place, parameters) {
  try {
    const answer = await fetch(`inside?${new URLSearchParams(parameters)}`);
    if (!answer.ok) return complain(place, answer.status);
    place.innerHTML = await answer.text();
    arm(place);
    const seconds = Number(answer.headers.get("Retry-After"));
    if (seconds) setTimeout(() => place.isConnected && fill(place, parameters), seconds * 1000);
  } catch {
    complain(place);
  }
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-inside], [data-folder]");
  if (!button) return;
  const { inside, key, folder, start } = button.dataset;
  const item = button.closest("li");
  if (inside) fill(button.parentElement, { key: inside });
  else if (start) fill(item, { key, folder, start });
  else if (button.getAttribute("aria-expanded") === "true") {
    button.setAttribute("aria-expanded", "false");
    find("div.below", item).remove();
  } else {
    button.setAttribute("aria-expanded", "true");
    const below = element("div", { className: "below" }, element("p", { className: "quiet", textContent: "Reading…" }));
    item.append(below);
    fill(below, { key, folder });
  }
});
