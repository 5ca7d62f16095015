// The orders beside the row: titles alone, each with where it stands in the row.

import { rankIn } from "./order.js";

export function showList(list, items, cardOf, row, acted) {
  list.replaceChildren(...items.map(item => entryOf(cardOf(item.item_id), rankIn(row, item.item_id), acted)));
}

function entryOf(card, rank, acted) {
  const entry = document.createElement("li");
  entry.dataset.id = String(card.item_id);
  const title = document.createElement("span");
  title.textContent = card.title ?? String(card.item_id);
  const there = document.createElement("span");
  there.className = "there soft";
  there.textContent = rank !== null ? `shown ${rank}.` : acted.has(String(card.item_id)) ? "acted on" : "not shown";
  entry.append(title, there);
  return entry;
}
