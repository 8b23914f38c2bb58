"use strict";
// Airflow's own theme, where it says so: an iframe does not inherit it. Else the browser's.
(() => {
  const own = document.documentElement;
  if (window.parent === window) return;
  const airflow = window.parent.document.documentElement;
  const follow = () => {
    if (airflow.classList.contains("dark")) own.dataset.theme = "dark";
    else if (airflow.classList.contains("light")) own.dataset.theme = "light";
    else delete own.dataset.theme;
  };
  follow();
  new MutationObserver(follow).observe(airflow, { attributes: true, attributeFilter: ["class"] });
})();
