"use strict";
// Where there are many applications, only those whose name holds what somebody types.
(() => {
  const sought = find("#sought");
  if (!sought) return;
  const narrow = () => {
    const text = sought.value.trim().toLowerCase();
    for (const each of all("[data-application]")) each.hidden = !each.dataset.application.toLowerCase().includes(text);
  };
  sought.addEventListener("input", narrow);
  new MutationObserver(narrow).observe(find("main"), { childList: true, subtree: true }); // pieces come and go
})();
