// What pages do beyond links and forms: local times, copying, dialogs, live numbers, and the state of the stream.
"use strict";

const MISSING = "–";

// The same looks as hanlin.console.display, for values that come by the stream.
const formats = {
  number(value) {
    const size = Math.abs(value);
    if (Number.isInteger(value) || size >= 1000) return Math.round(value).toLocaleString("en-US");
    return value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3);
  },
  ms: (value) => `${formats.number(value)} ms`,
  percent: (value) => `${(value * 100).toFixed(1)} %`,
  size(value) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let unit = 0;
    for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1000;
    return `${unit < 2 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
  },
};

function showLocalTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime()) || element.title) continue;
    const two = (part) => String(part).padStart(2, "0");
    element.title = element.textContent;
    const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
    element.textContent = element.dataset.clock !== undefined
      ? clock
      : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}`;
  }
}

function showFigures(message) {
  for (const element of document.querySelectorAll("[data-live]")) {
    const [subject, figure] = element.dataset.live.split(" ");
    const value = message.subjects[subject]?.[figure];
    if (value === undefined) continue;
    if (element.dataset.hideZero !== undefined) element.hidden = !value;
    if (element.tagName === "PROGRESS") element.value = value;
    else element.textContent = (formats[element.dataset.as] ?? formats.number)(value);
  }
  document.dispatchEvent(new CustomEvent("hanlin:figures", { detail: message }));
}

function showStream(state) {
  const stream = document.getElementById("stream");
  if (!stream) return;
  const word = stream.querySelector(".stream-word");
  stream.dataset.state = state;
  word.textContent = state === "lost" ? word.dataset.lostWord : word.dataset.liveWord;
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  const before = button.getAttribute("aria-label");
  button.classList.add("is-done");
  button.setAttribute("aria-label", document.body.dataset.copied);
  setTimeout(() => {
    button.classList.remove("is-done");
    button.setAttribute("aria-label", before);
  }, 1500);
}

const actions = {
  "[data-copy]": (button) => copy(button),
  "[data-open]": (button) => document.getElementById(button.dataset.open).showModal(),
  "[data-close]": (button) => button.closest("dialog").close(),
  "[data-fill]": (button) => {
    const field = document.getElementById(button.dataset.fill);
    field.value = button.dataset.value;
    field.focus();
  },
  "[data-toggle]": (button) => {
    const isOpen = document.getElementById(button.dataset.toggle).classList.toggle("is-open");
    button.setAttribute("aria-expanded", String(isOpen));
  },
};

document.addEventListener("click", (event) => {
  for (const [selector, act] of Object.entries(actions)) {
    const button = event.target.closest(selector);
    if (button) act(button);
  }
  if (event.target.tagName === "DIALOG") event.target.close();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits] select")) event.target.form.requestSubmit();
});

document.addEventListener("htmx:sseBeforeMessage", (event) => {
  if (event.target.id !== "feed") return;
  event.preventDefault();
  showStream("live");
  showFigures(JSON.parse(event.detail.data));
});
document.addEventListener("htmx:sseOpen", () => showStream("live"));
document.addEventListener("htmx:sseError", () => showStream("lost"));

// A part of a page is not replaced under somebody who works in it.
document.addEventListener("htmx:beforeSwap", (event) => {
  const isLive = event.detail.requestConfig?.triggeringEvent?.type.startsWith("sse:");
  if (!isLive) return;
  const target = event.detail.target;
  if (event.detail.xhr.status !== 200 || target.querySelector("dialog[open]")) event.detail.shouldSwap = false;
});
document.addEventListener("htmx:load", (event) => showLocalTimes(event.target));

showLocalTimes(document);
if (location.pathname === "/sign-in") history.replaceState(null, "", "/sign-in");
