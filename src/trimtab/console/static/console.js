// What pages do beyond reading: charts, dialogs, live parts, keys, times in the reader's zone.

const root = document.documentElement;
const body = document.body;
const AXIS = 96, AXIS_NARROW = 56, RIGHT = 16, NARROW = 720;
const YEAR_S = 31536000;
const PATCH_PAUSE_MS = 1000;

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const isTyping = (target) => target.closest("input, textarea, select, dialog[open]") !== null;

// Choices that a cookie keeps: the zone of times, the colours.
function applyChoices() {
  for (const button of all("[data-choice]")) {
    const name = button.dataset.choice;
    button.textContent = name === "zone" && root.dataset.zone === "utc" ? "UTC" : root.dataset[name];
  }
  showTimes(document);
}
function nextChoice(button) {
  const name = button.dataset.choice, values = button.dataset.values.split(" ");
  const value = values[(values.indexOf(root.dataset[name]) + 1) % values.length];
  root.dataset[name] = value;
  document.cookie = `trimtab_${name}=${value}; path=/; max-age=${YEAR_S}; samesite=strict`;
  applyChoices();
  document.dispatchEvent(new CustomEvent("choice-changed", { detail: { name, value } }));
}

// Times: an instant in the reader's zone, an age for what is younger than two days.
function showTimes(within) {
  const zone = root.dataset.zone === "local" ? undefined : "UTC";
  const form = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: zone, timeZoneName: "short" });
  for (const each of all("time.instant", within)) each.textContent = form.format(new Date(each.dateTime));
  for (const each of all("time.age", within)) each.textContent = age(new Date(each.dateTime), form);
}
function age(then, form) {
  const seconds = Math.max(0, (Date.now() - then) / 1000);
  if (seconds >= 2 * 86400) return form.format(then);
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
}

// Charts. The library is loaded once, when the first chart comes near the view.
let library;
function loadLibrary() {
  library ??= import(document.querySelector("meta[name=charts]").content).then(() => window.vegaEmbed);
  return library;
}
function fit(spec, width) {
  const axis = innerWidth < NARROW ? AXIS_NARROW : AXIS;
  const inner = Math.max(120, Math.floor(width) - axis - RIGHT);
  for (const part of spec.vconcat ?? [spec]) if (typeof part.width === "number" && part.width >= 300) part.width = inner;
  return spec;
}
async function draw(figure) {
  const place = figure.querySelector(".drawing"), source = figure.querySelector("script.spec");
  if (!source || !place.clientWidth) return;
  const spec = fit(JSON.parse(source.textContent), place.clientWidth);
  const embed = await loadLibrary();
  const drawn = await embed(place, spec, { mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true } });
  figure.dataset.drawn = String(place.clientWidth);
  place.classList.remove("waiting");
  figure.dispatchEvent(new CustomEvent("chart-drawn", { bubbles: true, detail: drawn }));
}
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) { near.unobserve(target); draw(target).catch((error) => failed(target, error)); }
}, { rootMargin: "400px" });
function failed(figure, error) {
  figure.dataset.drawn = "failed";
  figure.querySelector(".drawing").textContent = `The chart cannot be drawn (${error.message}); its values are in the table.`;
}
function watchCharts(within) {
  const charts = all("figure.chart", within);
  if (charts.length) loadLibrary().catch(() => {});
  for (const each of charts) near.observe(each);
}
let resized;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => all("figure.chart").filter((each) => each.dataset.drawn && Number(each.dataset.drawn) !== each.querySelector(".drawing").clientWidth).forEach(draw), 200);
});

// Dialogs and what they send.
const csrf = () => document.querySelector("meta[name=csrf]").content;
async function send(form) {
  const values = {};
  for (const [name, value] of new FormData(form)) values[name] = value;
  const headers = { "content-type": "application/json", "x-csrf-token": csrf(), "idempotency-key": (form.dataset.key ??= crypto.randomUUID()) };
  if (form.dataset.seen) headers["if-match"] = `"${form.dataset.seen}"`;
  const refusal = form.querySelector(".refusal"), buttons = all("button", form);
  refusal.hidden = true;
  buttons.forEach((each) => (each.disabled = true));
  try {
    const answer = await fetch(form.dataset.posts, { method: "POST", headers, body: JSON.stringify(values) });
    if (answer.ok) {
      const dialog = form.closest("dialog");
      await patch(true, dialog); // first, so that the next button sends the number of what is shown now
      dialog.close();
      form.dispatchEvent(new CustomEvent("sent", { bubbles: true, detail: await answer.json().catch(() => null) }));
    } else {
      const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
      refusal.textContent = problem.next ? `${problem.detail} ${problem.next}` : problem.detail;
      refusal.hidden = false;
      delete form.dataset.key;
    }
  } catch (error) {
    refusal.textContent = `The console does not answer (${error.message}). Nothing is known to have changed; try again.`;
    refusal.hidden = false; // the key stays: a second try cannot do it twice
  }
  buttons.forEach((each) => (each.disabled = false));
}

// Live parts: the page is asked for again when records that it shows were written, and parts that differ are replaced.
let held = 0, patching = false, again = false;
function isBusy() {
  return document.querySelector("dialog[open]") !== null || scrollY > 80 || document.activeElement?.closest("tbody, .filters, [role=slider]") !== null && document.activeElement !== body;
}
async function patch(always = false, own = null) {
  if (patching) { again = true; return; }
  if (!always && isBusy()) { showNews(); return; }
  patching = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if ((document.querySelector("dialog[open]") ?? own) !== own) { showNews(); return; } // opened meanwhile: it must not vanish
    held = 0;
    document.getElementById("news").hidden = true;
    for (const selector of ["header.top nav", ".stale", ".where", ".sentence", "#content"]) replaceParts(selector, fresh);
  } finally {
    patching = false;
    if (again) { again = false; setTimeout(patch, PATCH_PAUSE_MS); }
  }
}
function replaceParts(selector, fresh) {
  const old = document.querySelector(selector), made = fresh.querySelector(selector);
  if (!old || !made) return;
  if (selector !== "#content") { if (served(old) !== made.innerHTML) replace(old, made); return; }
  for (const part of [...old.children]) if (part.id && part.id !== "news" && !made.querySelector(`#${CSS.escape(part.id)}`)) part.remove();
  for (const part of [...made.children]) {
    const same = part.id ? document.getElementById(part.id) : null;
    if (part.id === "news" || part.matches(".where, .sentence")) continue;
    if (!part.id || !same) { location.reload(); return; }
    if (served(same) !== part.innerHTML) replace(same, part);
  }
}
const originals = new WeakMap();
const served = (element) => originals.get(element) ?? element.innerHTML;
function remember(within) {
  for (const each of all("header.top nav, .stale, .where, .sentence, #content > [id]", within)) originals.set(each, each.innerHTML);
}
function replace(old, made) {
  const open = new Set(all("details[open]", old).map((each) => each.closest("[id]")?.id));
  const fresh = document.importNode(made, true);
  originals.set(fresh, made.innerHTML);
  old.replaceWith(fresh);
  for (const each of all("details", fresh)) if (open.has(each.closest("[id]")?.id)) each.open = true;
  start(fresh);
}
function showNews() {
  const news = document.getElementById("news");
  news.replaceChildren(`${held} new ${held === 1 ? "record" : "records"}, `, Object.assign(document.createElement("button"), { type: "button", className: "plain", textContent: "show", onclick: () => patch(true) }));
  news.hidden = false;
}
let connected = false;
function showConnection() {
  const live = document.getElementById("live");
  if (live) live.textContent = connected ? live.dataset.word : "";
}
function listen() {
  const kinds = body.dataset.live.split(" ").filter(Boolean);
  if (!kinds.length || !window.EventSource) return;
  const stream = new EventSource("/api/v1/events");
  let timer;
  const note = () => { held += 1; clearTimeout(timer); timer = setTimeout(patch, PATCH_PAUSE_MS); };
  for (const kind of kinds) stream.addEventListener(kind, note);
  stream.onopen = () => { connected = true; showConnection(); };
  stream.onerror = () => { connected = false; showConnection(); };
}

// Parts that come after the page.
const LATER_TRIES = 6;
async function fetchLater(part, tries = LATER_TRIES) {
  try {
    const answer = await fetch(part.dataset.address, { headers: { accept: "text/html" } });
    const wait = answer.status === 503 ? Number(answer.headers.get("retry-after")) : 0;
    if (wait && tries > 1) { setTimeout(() => fetchLater(part, tries - 1), 1000 * wait); return; } // other reads come first
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok) throw new Error(made.querySelector("h1")?.textContent ?? answer.status);
    const content = made.querySelector("#content > :last-child") ?? made.body;
    part.replaceChildren(...content.childNodes);
    part.dataset.read = "true";
    start(part);
  } catch (error) {
    part.replaceChildren(`This part cannot be read: ${error.message} `, Object.assign(document.createElement("a"), { href: "", textContent: "try again" }));
  }
}

// A log that is followed: the newest lines come while the reader is at its end; scrolling up stops it.
const FOLLOW_MS = 3000;
function follow(part) {
  const end = (log) => log && log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  const show = () => { const log = part.querySelector("pre"); if (log) log.scrollTop = log.scrollHeight; };
  show();
  setInterval(async () => {
    if (document.hidden || !end(part.querySelector("pre"))) return;
    const answer = await fetch(part.dataset.follows, { headers: { accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
    if (fresh && fresh.innerHTML !== part.innerHTML) { part.replaceChildren(...fresh.childNodes); show(); }
  }, FOLLOW_MS);
}

// What no record tells, such as the progress of a backtest: the page is asked for again while such a part is there.
const POLL_MS = 3000;
setInterval(() => { if (!document.hidden && document.querySelector("[data-polls]")) patch(); }, POLL_MS);

// Keys. Single keys can be turned off.
const areOn = () => localStorage.getItem("keys") !== "off";
let goes = 0;
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || !areOn()) return;
  const key = event.key;
  if (Date.now() - goes < 1500) {
    goes = 0;
    const target = document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`);
    if (target) { event.preventDefault(); target.click(); return; }
  }
  if (key === "g") goes = Date.now();
  else if (key === "/") { event.preventDefault(); document.getElementById("find").focus(); }
  else if (key === "?") document.getElementById("keys").showModal();
  else if (key === "t") nextChoice(document.querySelector("[data-choice=zone]"));
  else if (key === "j" || key === "k") moveRow(key === "j" ? 1 : -1);
  else if (key === "[" || key === "]") document.querySelector(key === "[" ? "a[rel=prev]" : "a[rel=next-range]")?.click();
}
function moveRow(step) {
  const rows = all("tbody tr").filter((row) => row.querySelector("a"));
  if (!rows.length) return;
  const now = rows.findIndex((row) => row.contains(document.activeElement));
  const row = rows[Math.min(rows.length - 1, Math.max(0, now + step))];
  row.querySelector("a").focus();
  row.scrollIntoView({ block: "nearest" });
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-opens], [data-closes], [data-choice], [data-copies], [data-prints], [aria-disabled=true]");
  if (!target) return;
  if (target.getAttribute("aria-disabled") === "true") event.preventDefault();
  else if (target.dataset.opens) document.getElementById(target.dataset.opens).showModal();
  else if (target.dataset.choice) nextChoice(target);
  else if (target.dataset.copies) navigator.clipboard.writeText(target.dataset.copies).then(() => (target.textContent = "copied"), () => (target.textContent = "this browser does not allow it"));
  else if ("prints" in target.dataset) print();
  else target.closest("dialog").close();
});
document.addEventListener("submit", (event) => {
  if (event.target.dataset.posts) { event.preventDefault(); send(event.target); }
});
document.addEventListener("keydown", onKey);

function start(within) {
  showTimes(within);
  showConnection();
  watchCharts(within);
  all(".later[data-address]", within).forEach((part) => fetchLater(part));
}
all("[data-follows]").forEach(follow);
remember(document);
applyChoices();
start(document);
listen();
const switchOfKeys = document.getElementById("keys-on");
switchOfKeys.checked = areOn();
switchOfKeys.addEventListener("change", () => localStorage.setItem("keys", switchOfKeys.checked ? "on" : "off"));
setInterval(() => all("time.age").forEach((each) => showTimes(each.parentElement)), 30000);
root.dataset.ready = "true";
