"use strict";

const REVIEW_TOKEN = document.body.dataset.reviewToken;
const LOOK_EVERY_MS = 2000;
const byId = (id) => document.getElementById(id);

function complain(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("pipeline view does not answer any more; start it again and open the address that it prints");
  }
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

/* Rows that the server has. */
class ServedSource {
  async find(query, offset, most) {
    try {
      const found = await ask(`/items?${new URLSearchParams({ ...query, offset, most })}`);
      for (const row of found.rows) prepare(row);
      return found;
    } catch (error) {
      complain(error.message);
      return { total: 0, rows: [] };
    }
  }
}

function prepare(row) {
  row.picture = row.has_original ? `/picture?${new URLSearchParams({ id: row.id, fingerprint: row.fingerprint })}` : "";
  row.answered = row.caption;
  if (row.review?.verdict === "edited") row.caption = row.review.caption;
}

function verdictLine(row) {
  if (!row.review) return null;
  const { verdict, reviewer, at } = row.review;
  return element("p", { className: `verdict ${verdict}`, textContent: `${verdict} by ${reviewer}, ${at}` });
}

async function decide(row, at, verdict, caption) {
  const body = JSON.stringify({ id: row.id, fingerprint: row.fingerprint, verdict, caption, reviewer: byId("reviewer").value });
  try {
    const shown = await ask("/reviews", { method: "POST", body, headers: { "content-type": "application/json", "x-review-token": REVIEW_TOKEN } });
    prepare(shown);
    complain("");
    gallery.rows[at] = shown;
    const hadFocus = gallery.list.children[at].contains(document.activeElement);
    gallery.list.children[at].replaceChildren(gallery.card(shown, at));
    if (hadFocus) gallery.focus(at);
    if (gallery.dialog.open && gallery.opened === at) gallery.open(at);
    look();
    return true;
  } catch (error) {
    complain(error.message);
    return false;
  }
}

function reviewButtons(row, at) {
  const make = (text, act) => {
    const button = element("button", { type: "button", textContent: text });
    button.setAttribute("aria-label", `${text}: ${row.id}`);
    button.addEventListener("click", act);
    return button;
  };
  return element("div", { className: "acts" },
    make("Accept", () => decide(row, at, "accepted")), make("Edit", () => edit(row, at)), make("Reject", () => decide(row, at, "rejected")),
    row.review ? make("Take back", () => decide(row, at, "cleared")) : null);
}

function edit(row, at) {
  gallery.open(at);
  const text = element("textarea", { value: row.caption });
  text.setAttribute("aria-label", "Caption");
  const save = element("button", { type: "button", textContent: "Save" });
  const trouble = element("p", { className: "bad" });
  trouble.setAttribute("role", "alert");
  const store = async () => { if (!(await decide(row, at, "edited", text.value))) trouble.textContent = byId("trouble").textContent; };
  save.addEventListener("click", store);
  text.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) store(); });
  byId("item-body").prepend(element("div", {}, text, trouble,
    element("p", { className: "small dim" }, save, " or Ctrl+Enter", row.structured ? "; this answer is structured: keep it JSON" : "")));
  text.focus();
}

const gallery = new Gallery(new ServedSource(), {
  decorate(text, row, at) {
    if (row.failed) return;
    const line = verdictLine(row);
    if (line) text.append(line);
    text.append(reviewButtons(row, at));
  },
  pressed(key, row, at) {
    const verdict = { a: "accepted", r: "rejected", u: "cleared" }[key];
    if (row.failed || !(verdict || key === "e")) return false;
    if (key === "e") edit(row, at);
    else if (verdict !== "cleared" || row.review) decide(row, at, verdict);
    return true;
  },
  opened(body, row, at) {
    if (row.failed) return;
    const line = verdictLine(row);
    if (row.review?.verdict === "edited") body.prepend(element("p", { className: "dim small", textContent: `Answered: ${row.answered}` }));
    if (line) body.prepend(line);
    body.prepend(reviewButtons(row, at));
  },
});

let revision = -1, timer = 0;

function tell(state) {
  const facts = [["captioned", state.captioned.toLocaleString("en")], ["failed", state.failed.toLocaleString("en")], ["spent", money(state.cost_usd)],
    ["requests", state.sent.toLocaleString("en")], ["output tokens", state.output_tokens.toLocaleString("en")],
    ...Object.entries(state.reviewed).map(([name, count]) => [name, count.toLocaleString("en")])];
  if (state.left_out) facts.push(["older, not held", state.left_out.toLocaleString("en")]);
  byId("facts").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
  const running = state.runs.length > 0 && state.newest_s !== null && state.newest_s < 120;
  byId("dot").className = running ? "dot on" : "dot";
  byId("pace").textContent = running
    ? `run ${state.runs.join(", ")}: ${state.items_per_second.toFixed(1)} items a second, newest ${Math.max(0, Math.round(state.newest_s))} s ago`
    : "no run is writing";
}

async function look() {
  clearTimeout(timer);
  try {
    const state = await ask("/state");
    complain("");
    tell(state);
    gallery.offer({ ...state.facets, kinds: Object.entries(state.facets.kinds), warnings: Object.entries(state.facets.warnings), values: new Map(Object.entries(state.facets.values)) });
    const busy = gallery.dialog.open || !byId("follow").checked;
    if (state.revision !== revision && (revision < 0 || !busy)) {
      revision = state.revision;
      await (revision < 0 ? gallery.restart() : gallery.show());
    }
  } catch (error) {
    complain(error.message);
    byId("dot").className = "dot";
    byId("pace").textContent = "";
  }
  clearTimeout(timer);
  timer = setTimeout(look, LOOK_EVERY_MS);
}

look();
