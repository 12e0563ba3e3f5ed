// Hookline: what two pages need beside the script of all, the one that opens a link and the one of preferences.

// ---- a link that signs in: its code stands behind the #, which no server sees; it leaves the address before it is used
function enter() {
  const form = document.querySelector("[data-enter]");
  if (!form || location.hash.length < 2) return;
  form.elements.code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  form.requestSubmit();
}

// ---- the time zone that this device has
function localZone() {
  const select = document.getElementById("zone");
  select.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (select.selectedIndex < 0) select.value = "UTC";
}

addEventListener("hashchange", enter);
addEventListener("DOMContentLoaded", () => {
  enter();
  document.querySelector("[data-local-zone]")?.addEventListener("click", localZone);
});
