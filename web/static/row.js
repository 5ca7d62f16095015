// The row of cards: made once an item, moved from where they were to where they are.

import { drawCover } from "./covers.js";
import { moves, rankIn } from "./order.js";
import { moved, proposedBy } from "./words.js";

const BUTTONS = 4;  // of the bundle's actions; the others are in a list
const MOVE_MS = 260;

export class Row {
  constructor(list, actions, { act, why }) {
    this.list = list;
    this.actions = actions;
    this.on = { act, why };
    this.cards = new Map();  // text of an id -> element
    this.order = [];
  }

  show(items, cardOf) {
    const ids = items.map(item => item.item_id);
    const change = moves(this.order, ids);
    const focused = this.#focused();
    const before = new Map(change.kept.map(({ id }) => [id, this.cards.get(id).getBoundingClientRect()]));
    for (const id of change.left) this.cards.delete(id);
    for (const item of items) {
      const id = String(item.item_id);
      if (!this.cards.has(id)) this.cards.set(id, this.#card(cardOf(item.item_id)));
    }
    this.list.replaceChildren(...ids.map(id => this.cards.get(String(id))));
    items.forEach((item, at) => this.#label(item, at, cardOf, change));
    this.#animate(before, change);
    this.#refocus(focused, ids);
    this.order = ids;
    return change;
  }

  #card(card) {
    const name = card.title ?? String(card.item_id);
    const made = document.createElement("li");
    made.className = "card";
    made.dataset.id = String(card.item_id);
    const title = document.createElement("h3");
    Object.assign(title, { className: "title", textContent: name, title: name });
    const source = document.createElement("p");
    source.className = "source soft";
    const rank = document.createElement("span");
    rank.className = "rank";
    made.append(rank, drawCover(card), title, source, this.#controls(card, name));
    return made;
  }

  #controls(card, name) {
    const group = document.createElement("div");
    group.className = "acts";
    for (const { name: action, effect } of this.actions.slice(0, BUTTONS)) {
      const button = this.#button(action, `${action}: ${name}`, effect);
      button.addEventListener("click", event => this.#act(event, card, action, button));
      group.append(button);
    }
    if (this.actions.length > BUTTONS) group.append(this.#others(card, name));
    const why = this.#button("why?", `why is ${name} here?`, "why");
    why.setAttribute("aria-haspopup", "dialog");
    why.addEventListener("click", () => this.on.why(card.item_id));
    group.append(why);
    return group;
  }

  #button(text, label, kind) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: text, className: kind || "plain" });
    button.setAttribute("aria-label", label);
    button.dataset.control = text;
    return button;
  }

  #others(card, name) {
    const select = document.createElement("select");
    select.setAttribute("aria-label", `another action on ${name}`);
    select.dataset.control = "others";
    const others = this.actions.slice(BUTTONS).map(({ name: action }) => new Option(action, action));
    select.append(new Option("more", ""), ...others);
    select.addEventListener("change", event => {
      if (select.value) this.#act(event, card, select.value, select);
      select.value = "";
    });
    return select;
  }

  #act(event, card, action, control) {
    control.closest(".card").classList.add("acted");
    this.on.act(card.item_id, action, event.timeStamp);
  }

  #label(item, at, cardOf, change) {
    const card = this.cards.get(String(item.item_id));
    card.classList.remove("acted");
    const kept = change.kept.find(one => one.id === String(item.item_id));
    const told = this.order.length ? moved(kept ? kept.from : null, at) : "";
    card.querySelector(".rank").textContent = told ? `${at + 1} ${told}` : `${at + 1}`;
    const because = item.because_of === undefined ? null : cardOf(item.because_of).title ?? String(item.because_of);
    card.querySelector(".source").textContent = proposedBy(item.source, because);
  }

  #animate(before, change) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const { id } of change.kept) {
      const was = before.get(id), is = this.cards.get(id).getBoundingClientRect();
      const [x, y] = [was.left - is.left, was.top - is.top];
      if (x || y) this.#play(id, { transform: `translate(${x}px, ${y}px)` }, { transform: "none" });
    }
    for (const id of change.entered) this.#play(id, { opacity: 0 }, { opacity: 1 });
  }

  #play(id, from, to) {
    this.cards.get(id).animate([from, to], { duration: MOVE_MS, easing: "ease-out" });
  }

  #focused() {
    const control = document.activeElement, card = control?.closest?.("#row .card");
    if (!card) return null;
    const { id } = card.dataset;
    return { id, at: rankIn(this.order, id) - 1, control: control.dataset.control };
  }

  // Who works by keyboard stays where it was: on the same item, or on what stands in its place now.
  #refocus(focused, ids) {
    if (!focused) return;
    const card = this.cards.get(focused.id) ?? this.cards.get(String(ids[Math.min(focused.at, ids.length - 1)]));
    const controls = [...(card?.querySelectorAll("[data-control]") ?? [])];
    (controls.find(one => one.dataset.control === focused.control) ?? controls[0])?.focus({ preventScroll: true });
  }
}
