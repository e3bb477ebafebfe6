"use strict";

/* Makes an element; what comes from a dataset is only ever set as text. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function money(usd) {
  return usd >= 100 ? `$${usd.toLocaleString("en", { maximumFractionDigits: 2 })}` : `$${usd.toFixed(4)}`;
}

function moment(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
}

/* Rows that are inside the page. */
class LocalSource {
  constructor(rows) {
    this.rows = rows;
    for (const row of rows) {
      const parts = [row.id, row.caption, row.message, row.failed ? row.kind : "", ...row.sources, ...row.warnings];
      row.text = parts.join("\n").toLowerCase();
    }
  }

  facets() {
    const kinds = new Map(), warnings = new Map(), columns = new Map();
    for (const row of this.rows) {
      kinds.set(row.kind, (kinds.get(row.kind) || 0) + 1);
      for (const warning of row.warnings) warnings.set(warning, (warnings.get(warning) || 0) + 1);
      for (const [name, value] of Object.entries(row.manifest)) {
        if (!columns.has(name)) columns.set(name, new Set());
        if (value !== null && value !== "" && columns.get(name).size <= 50) columns.get(name).add(value);
      }
    }
    const values = new Map([...columns].map(([name, found]) => [name, found.size > 50 ? [] : [...found].sort()]));
    return { kinds: [...kinds].sort(), warnings: [...warnings].sort(), columns: [...columns.keys()], values };
  }

  async find(query, offset, most) {
    const words = query.words.toLowerCase().split(/\s+/).filter(Boolean), value = query.value.toLowerCase();
    const found = this.rows.filter((row) =>
      words.every((word) => row.text.includes(word))
      && (!query.kind || row.kind === query.kind)
      && (!query.warning || row.warnings.includes(query.warning))
      && (!query.column || !value || String(row.manifest[query.column] ?? "").toLowerCase().includes(value)));
    const key = sortKey(query.sort), sign = query.descending ? -1 : 1;
    const numbers = found.every((row) => ["", null].includes(key(row)) || Number.isFinite(Number(key(row))));
    found.sort((one, other) => sign * compared(key(one), key(other), numbers) || compared(one.id, other.id, false));
    return { total: found.length, rows: found.slice(offset, offset + most) };
  }
}

function sortKey(sort) {
  if (sort.startsWith("column:")) return (row) => row.manifest[sort.slice(7)] ?? "";
  const keys = { id: "id", cost: "cost", tokens: "output_tokens", time: "made" };
  return sort === "length" ? (row) => row.caption.length : (row) => row[keys[sort]] ?? "";
}

function compared(one, other, numbers) {
  if (numbers) return Number(one) - Number(other);
  return String(one) < String(other) ? -1 : Number(String(one) > String(other));
}

/* A gallery over a source: tools, cards, pages, keys, and one item in full. `more` adds to cards and keys. */
class Gallery {
  constructor(source, more = {}) {
    this.source = source;
    this.more = more;
    this.page = 48;
    this.offset = 0;
    this.total = 0;
    this.rows = [];
    this.asked = 0;
    this.at = (id) => document.getElementById(id);
    this.list = this.at("cards");
    this.dialog = this.at("item");
    this.controls = ["words", "kind", "warning", "column", "value", "sort", "order", "verdict"].map(this.at).filter(Boolean);
    for (const control of this.controls) {
      control.addEventListener(control.tagName === "INPUT" ? "input" : "change", () => this.restart());
    }
    this.at("before").addEventListener("click", () => this.turn(-1));
    this.at("after").addEventListener("click", () => this.turn(1));
    this.list.addEventListener("keydown", (event) => this.pressed(event));
    this.at("close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => this.focus(this.opened ?? 0));
    this.dialog.addEventListener("keydown", (event) => this.leafed(event));
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.target.closest("input, textarea, select, dialog")) {
        event.preventDefault();
        this.at("words").focus();
      }
    });
  }

  offer(facets) {
    this.options("kind", facets.kinds.map(([name, count]) => [name, `${name} (${count.toLocaleString("en")})`]));
    this.options("warning", facets.warnings.map(([name, count]) => [name, `${name} (${count.toLocaleString("en")})`]));
    this.options("column", facets.columns.map((name) => [name, name]));
    this.options("sort", facets.columns.map((name) => [`column:${name}`, `column ${name}`]), "column:");
    this.values = facets.values ?? new Map();
    for (const [id, found] of [["warning", facets.warnings], ["column", facets.columns]]) {
      this.at(id).closest("label").hidden = !found.length;
    }
    this.at("value").closest("label").hidden = !facets.columns.length;
  }

  /* Replaces options that came from the data, and keeps what is chosen. */
  options(id, pairs, prefix = "") {
    const control = this.at(id), chosen = control.value;
    const old = [...control.options].filter((option) => prefix ? option.value.startsWith(prefix) : option.value);
    const before = JSON.stringify(old.map((option) => [option.value, option.text]));
    if (before === JSON.stringify(pairs)) return;
    for (const option of old) option.remove();
    for (const [value, text] of pairs) control.add(new Option(text, value));
    if ([...control.options].some((option) => option.value === chosen)) control.value = chosen;
  }

  query() {
    const value = (id) => this.at(id)?.value ?? "";
    return {
      words: value("words"), kind: value("kind"), warning: value("warning"), column: value("column"),
      value: value("value"), sort: value("sort"), descending: value("order") !== "up", verdict: value("verdict"),
    };
  }

  restart() {
    this.at("value").disabled = !this.at("column").value;
    const known = this.values?.get(this.at("column").value) ?? [];
    this.at("values").replaceChildren(...known.map((value) => element("option", { value })));
    this.offset = 0;
    return this.show();
  }

  async turn(pages) {
    const offset = this.offset + pages * this.page;
    if (offset < 0 || offset >= this.total) return;
    this.offset = offset;
    await this.show();
    this.focus(0);
    this.list.scrollIntoView({ block: "start" });
  }

  async show() {
    const number = ++this.asked;
    const found = await this.source.find(this.query(), this.offset, this.page);
    if (number !== this.asked) return;
    const focused = this.rows[[...this.list.children].findIndex((item) => item.contains(document.activeElement))]?.id;
    this.rows = found.rows;
    this.total = found.total;
    this.list.replaceChildren(...this.rows.map((row, at) => element("li", {}, this.card(row, at))));
    const last = this.offset + this.rows.length;
    const range = this.total > this.page ? `, ${(this.offset + 1).toLocaleString("en")} to ${last.toLocaleString("en")} shown` : "";
    this.at("found").textContent = this.total ? `${this.total.toLocaleString("en")} found${range}` : "nothing found";
    this.at("before").disabled = this.offset === 0;
    this.at("after").disabled = last >= this.total;
    if (focused !== undefined) this.focus(Math.max(0, this.rows.findIndex((row) => row.id === focused)));
  }

  card(row, at) {
    const open = element("button", { type: "button", className: "picture", tabIndex: -1 }, this.image(row, row.failed ? "no picture" : "no thumbnail"));
    open.setAttribute("aria-label", `Open ${row.id}`);
    open.addEventListener("click", () => this.open(at));
    const name = element("p", { className: "name", textContent: row.id });
    const size = [row.size, `${row.input_tokens.toLocaleString("en")} in, ${row.output_tokens.toLocaleString("en")} out`, money(row.cost)];
    const text = element("div", { className: "text" }, name,
      row.failed ? element("p", { className: "bad", textContent: `${row.kind}: ${row.message}` }) : element("p", { className: "caption", textContent: row.caption }),
      element("p", { className: "dim small", textContent: row.sources.join(", ") }),
      element("p", { className: "dim small", textContent: size.filter(Boolean).join(" · ") }),
      this.marks(row));
    const card = element("article", { className: "card", tabIndex: at ? -1 : 0 }, open, text);
    card.setAttribute("aria-label", row.id);
    this.more.decorate?.(text, row, at);
    return card;
  }

  image(row, instead, address = row.thumbnail || row.picture) {
    if (!address) return element("span", { textContent: instead });
    const image = element("img", { src: address, alt: "", loading: "lazy" });
    image.addEventListener("error", () => {
      if (row.thumbnail && image.src !== row.thumbnail) image.src = row.thumbnail;
      else image.replaceWith(element("span", { textContent: "no picture" }));
    });
    return image;
  }

  marks(row) {
    if (!row.warnings.length) return null;
    return element("p", { className: "marks" }, ...row.warnings.map((name) => element("span", { className: "mark", textContent: name })));
  }

  focus(at) {
    const cards = [...this.list.querySelectorAll(".card")];
    if (!cards.length) return;
    cards.forEach((card) => { card.tabIndex = -1; });
    const card = cards[Math.min(at, cards.length - 1)];
    card.tabIndex = 0;
    card.focus();
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const at = [...this.list.children].findIndex((item) => item.contains(event.target));
    if (at < 0) return;
    const wide = this.columns(), steps = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1, ArrowDown: wide, ArrowUp: -wide };
    if (event.key in steps) this.focus(Math.max(0, at + steps[event.key]));
    else if (event.key === "Home") this.focus(0);
    else if (event.key === "End") this.focus(this.rows.length - 1);
    else if (event.key === "Enter" && !event.target.closest("button")) this.open(at);
    else if (event.key === "n") this.turn(1);
    else if (event.key === "p") this.turn(-1);
    else if (!this.more.pressed?.(event.key, this.rows[at], at)) return;
    event.preventDefault();
  }

  columns() {
    const tops = [...this.list.children].map((item) => item.offsetTop);
    return Math.max(1, tops.filter((top) => top === tops[0]).length);
  }

  leafed(event) {
    if (event.target.closest("textarea, input")) return;
    const step = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1 }[event.key];
    if (step && this.rows[this.opened + step]) this.open(this.opened + step);
  }

  open(at) {
    const row = this.rows[at];
    this.opened = at;
    this.at("item-name").textContent = row.id;
    const lines = [["source", row.sources.join("\n")], ["size", row.size], ["model", row.model], ["stop reason", row.stop_reason],
      ["tokens", `${row.input_tokens.toLocaleString("en")} in, ${row.output_tokens.toLocaleString("en")} out`],
      ["cost", money(row.cost)], ["latency", row.latency_s ? `${row.latency_s} s` : ""], ["attempts", row.attempts],
      ["made (UTC)", moment(row.made)], ["warnings", row.warnings.join(", ")], ...Object.entries(row.manifest)];
    const table = element("table", {}, element("tbody", {}, ...lines.filter(([, value]) => value !== "" && value !== null && value !== undefined)
      .map(([name, value]) => element("tr", {}, element("th", { scope: "row", textContent: name }), element("td", { textContent: String(value) })))));
    const large = element("div", { className: "large" }, this.image(row, "no picture", row.picture || row.thumbnail));
    this.at("item-body").replaceChildren(
      row.thumbnail || row.picture ? large : "",
      row.failed ? element("p", { className: "bad", textContent: `${row.kind}: ${row.message}` }) : element("p", { className: "caption", textContent: row.caption }),
      ...(row.replies ?? []).map((reply, turn) => element("p", { className: "caption dim", textContent: `Turn ${turn + 1}: ${reply}` })),
      row.data ? element("pre", { textContent: row.data }) : "",
      table);
    this.more.opened?.(this.at("item-body"), row, at);
    if (!this.dialog.open) this.dialog.showModal();
  }
}
