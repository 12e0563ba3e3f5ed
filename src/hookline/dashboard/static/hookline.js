// Hookline: the only script. Every page reads and every form posts without it; it adds copying, keys, clocks, live rows.
// It writes text by textContent alone, and asks nobody but this server.
const root = document.documentElement;
const one = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
root.classList.add("js");

const store = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* private window: forget it */ } },
};

// ---- theme: system, light, dark; in a cookie, so that the server renders it and nothing flashes
const themes = ["system", "light", "dark"];
function nextTheme() {
  const name = themes[(themes.indexOf(root.dataset.theme ?? "system") + 1) % themes.length];
  if (name === "system") delete root.dataset.theme; else root.dataset.theme = name;
  document.cookie = `theme=${name}; path=/; max-age=31536000; samesite=${"framed" in root.dataset ? "none; secure; partitioned" : "strict"}`;
  all("[data-theme-name]").forEach((node) => { node.textContent = name[0].toUpperCase() + name.slice(1); });
}

// ---- say it once: toasts are a polite live region that exists from the start
function say(text, seconds = 4, look = "toast") {
  const toast = document.createElement("div");
  toast.className = look;
  toast.textContent = text;
  one(".toasts").append(toast);
  setTimeout(() => toast.remove(), seconds * 1000);
}

// ---- copy: from the element named by data-copy, or its literal data-text
async function copy(button) {
  const source = button.dataset.copy && document.getElementById(button.dataset.copy);
  const text = button.dataset.text ?? (source ? source.textContent : "");
  try {
    await navigator.clipboard.writeText(text);
    button.classList.add("ok");
    const label = one(".label", button);
    const before = label?.textContent;
    if (label) label.textContent = "Copied";
    setTimeout(() => { button.classList.remove("ok"); if (label) label.textContent = before; }, 1600);
    if (!label) say("Copied");
  } catch {
    if (source) getSelection().selectAllChildren(source);
    say(source ? "The browser refused to copy. The text is selected: press Ctrl C." : "The browser refused to copy.");
  }
}

// ---- clocks: <time data-until> counts down; the words are the server's, once a second
function inWords(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s}\u00a0s`;
  if (s < 3600) return `${Math.floor(s / 60)}\u00a0m\u00a0${String(s % 60).padStart(2, "0")}\u00a0s`;
  if (s < 86400) return `${Math.floor(s / 3600)}\u00a0h\u00a0${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}\u00a0m`;
  return `${Math.floor(s / 86400)}\u00a0d\u00a0${Math.floor((s % 86400) / 3600)}\u00a0h`;
}
const started = performance.now();
function tick() {
  all("[data-until]").forEach((node) => {
    const left = Number(node.dataset.until) - (performance.now() - (node.seenAt ?? started)) / 1000;
    node.textContent = left > 0 ? inWords(left) : "now";
  });
}

// ---- attempts: open all, close all
function allAttempts() {
  const list = all(".attempt");
  const open = list.some((node) => !node.open);
  list.forEach((node) => { node.open = open; });
}

// ---- live: what is marked so is fetched again and swapped, while the page is seen and nothing in it is touched
let failures = 0;
let timer;
const isLive = () => one(".live")?.getAttribute("aria-pressed") === "true";
function isTouched(node) {
  const selection = getSelection();
  return node.matches(":hover, :focus-within, :has([open])") || (!selection.isCollapsed && node.contains(selection.anchorNode));
}
function swap(node, fresh) {
  if (!fresh || fresh.isEqualNode(node)) return;
  const bar = node.id === "rows" && one(".arrived");
  const put = () => {
    all("[data-until]", fresh).forEach((time) => { time.seenAt = performance.now(); });
    node.replaceWith(document.adoptNode(fresh));
    if (bar) bar.hidden = true;
  };
  if (!isTouched(node)) return put();
  const known = all("[data-key]", node).map((row) => row.dataset.key);
  const count = all("[data-key]", fresh).filter((row) => !known.includes(row.dataset.key)).length;
  if (!bar || !count) return;
  bar.textContent = `Show new ${bar.dataset.noun}s: ${count}`;
  bar.onclick = put;
  if (bar.hidden) say(`New ${bar.dataset.noun}s`, 4, "hush");
  bar.hidden = false;
}
async function refresh() {
  clearTimeout(timer);
  const button = one(".live");
  if (!isLive() || document.hidden) return;
  try {
    const address = new URL(location);
    address.searchParams.set("live", "1");
    const answer = await fetch(address, { signal: AbortSignal.timeout(9000) });
    if (!answer.ok || answer.redirected) throw answer;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    all("[data-live]").forEach((node) => swap(node, page.getElementById(node.id)));
    document.title = page.title;
    failures = 0;
  } catch {
    failures += 1;
  }
  button.textContent = failures > 1 ? "Not live: no answer" : "Live";
  if (failures === 2) document.title = `Not live: ${document.title}`;
  timer = setTimeout(refresh, Math.min(30, button.dataset.every * 2 ** failures) * 1000);
}
function setLive(on) {
  store.set("live", on ? "on" : "off");
  one(".live").setAttribute("aria-pressed", on);
  say(on ? "Live" : "Live is off");
  refresh();
}

// ---- keys: off by one switch (WCAG 2.1.4), silent while typing
const places = { o: "/", e: "/events", s: "/subscriptions" };
let waitingForPlace = false;
function row(step) {
  const links = all(".row-link");
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  const next = links[Math.min(links.length - 1, Math.max(0, at + step))];
  next.focus();
  next.closest("tr").scrollIntoView({ block: "nearest" });
}
function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog")) return;
  if (store.get("keys") === "off") return;
  if (waitingForPlace) {
    waitingForPlace = false;
    if (places[event.key]) location.href = places[event.key];
    return;
  }
  const does = {
    "/": () => one("[data-find]")?.focus(),
    "?": () => one("#keys")?.showModal(),
    j: () => row(1),
    k: () => row(-1),
    l: () => one(".live")?.click(),
    c: () => one("[data-main-copy]")?.click(),
    r: () => one("[data-redeliver]")?.click(),
    e: allAttempts,
    g: () => { waitingForPlace = true; setTimeout(() => { waitingForPlace = false; }, 1000); },
  }[event.key];
  if (does) { event.preventDefault(); does(); }
}

function click(event) {
  const button = event.target.closest("button, [data-opens]");
  if (!button) return;
  const dialog = button.dataset.opens && document.getElementById(button.dataset.opens);
  if (dialog) { event.preventDefault(); dialog.showModal(); }
  if (button.matches("[data-copy], [data-text]")) copy(button);
  if (button.matches("[data-next-theme]")) nextTheme();
  if (button.matches("[data-all-attempts]")) allAttempts();
  if (button.matches(".live")) setLive(!isLive());
}

addEventListener("DOMContentLoaded", () => {
  tick();
  setInterval(tick, 1000);
  setTimeout(() => all(".toast").forEach((toast) => toast.remove()), 6000);
  const toggle = one("#keys-on");
  toggle.checked = store.get("keys") !== "off";
  toggle.addEventListener("change", () => store.set("keys", toggle.checked ? "on" : "off"));
  if (store.get("live") === "off") one(".live")?.setAttribute("aria-pressed", false);
  timer = setTimeout(refresh, 2000);
  document.addEventListener("visibilitychange", refresh);
  addEventListener("keydown", key);
  addEventListener("click", click);
});
