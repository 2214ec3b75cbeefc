"use strict";
/* The key is held in this closure alone: no storage, no cookie, no address ever has it. */
(() => {
  const EVERY_MS = 5000;
  let key = null;
  let pollFailed = false;

  const part = (id) => document.getElementById(id);
  const isPoll = (detail) => detail.requestConfig?.triggeringEvent?.type === "refresh";

  function say(text) {
    if (part("said").textContent !== text) part("said").textContent = text;
  }

  function close(text) {
    key = null;
    part("board").replaceChildren();
    part("forget").hidden = true;
    part("key-form").hidden = false;
    part("key").focus();
    say(text);
  }

  part("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = part("key").value.trim();
    part("key").value = "";
    if (!/^[\x21-\x7e]+$/.test(given)) return close("A key holds ASCII letters, digits and signs alone.");
    key = given;
    say("Opening …");
    htmx.ajax("GET", "/page/board", { source: "#board", target: "#board" });
  });

  /* A browser may keep a page that was left, to show it again. */
  addEventListener("pagehide", () => close(""));

  /* Reloading ends requests that are under way, and leaves nothing of what was shown. */
  part("forget").addEventListener("click", () => location.reload());

  document.addEventListener("htmx:configRequest", (event) => {
    if (key === null) event.preventDefault();
    else event.detail.headers["Authorization"] = `Bearer ${key}`;
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { detail } = event;
    if (key === null) detail.shouldSwap = false;
    /* Figures do not change under the hands of somebody who stands in them. */
    if (isPoll(detail) && detail.target.contains(document.activeElement)) detail.shouldSwap = false;
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (isPoll(event.detail)) return;
    if (event.detail.target === part("board")) {
      part("key-form").hidden = true;
      part("forget").hidden = false;
      part("board").focus();
      say("The figures are shown.");
    }
    event.detail.target.querySelector("[data-focus]")?.focus();
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful && isPoll(event.detail) && pollFailed) {
      pollFailed = false;
      say("");
    }
  });

  document.addEventListener("htmx:responseError", (event) => {
    const { xhr } = event.detail;
    if (key === null) return;
    if (xhr.status === 401) close("The key is unknown, or it has ended. Type it again.");
    else fail(event.detail, refusal(xhr));
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, (event) => fail(event.detail, "The server cannot be reached."));
  }

  function fail(detail, text) {
    pollFailed = isPoll(detail);
    say(text);
  }

  function refusal(xhr) {
    let told = {};
    try {
      told = JSON.parse(xhr.responseText).error ?? {};
    } catch {
      /* An answer of something between here and the server; its status says enough. */
    }
    const known = {
      403: "This key may not do that.",
      429: "There were too many requests.",
      503: "The server cannot answer at the moment.",
    };
    const wait = Number(told.retry_after_s ?? xhr.getResponseHeader("Retry-After") ?? 0);
    const said = [known[xhr.status] ?? "The server refused."];
    if (xhr.status !== 403 && told.message) said.push(`It says: ${told.message}`);
    if (wait > 0) said.push(`Try again in ${Math.ceil(wait)} s.`);
    return said.join(" ");
  }

  document.addEventListener("htmx:confirm", (event) => {
    const { question, elt, issueRequest } = event.detail;
    if (!question) return;
    event.preventDefault();
    const dialog = part("confirm");
    part("confirm-question").textContent = question;
    part("confirm-values").replaceChildren(...[...elt.elements].flatMap(listed));
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => dialog.returnValue === "yes" && issueRequest(true), { once: true });
    dialog.showModal();
  });

  function listed(field) {
    const label = field.labels?.[0];
    if (!label) return [];
    const name = document.createElement("dt");
    const value = document.createElement("dd");
    name.textContent = label.textContent;
    value.textContent = field.type === "checkbox" ? (field.checked ? "yes" : "no") : field.value || "–";
    return [name, value];
  }

  function poll() {
    if (key !== null && document.visibilityState === "visible") htmx.trigger(document.body, "refresh");
  }
  setInterval(poll, EVERY_MS);
  document.addEventListener("visibilitychange", poll);
})();
