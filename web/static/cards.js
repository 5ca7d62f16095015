// What is known of items, asked for once: titles, categories, pictures.

import { call } from "./api.js";

const AT_ONCE = 200;
const known = new Map();  // text of an id -> card

export const cardOf = id => known.get(String(id)) ?? { item_id: id, title: null, category: [], picture: null };
export const titleOf = id => cardOf(id).title ?? String(id);

export async function learn(ids) {
  const unknown = [...new Set(ids.map(String))].filter(id => !known.has(id));
  for (let from = 0; from < unknown.length; from += AT_ONCE) {
    const cards = await call("/page/cards", { ids: unknown.slice(from, from + AT_ONCE) });
    for (const card of cards) known.set(String(card.item_id), card);
  }
}
