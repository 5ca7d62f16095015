// A cover for an item without a picture: its initials, a colour by its category, a pattern by its id.

const SVG = "http://www.w3.org/2000/svg";

// FNV-1a, 32 bit: the same cover on every machine.
export function hash(text) {
  let value = 0x811c9dc5;
  for (const unit of new TextEncoder().encode(text)) value = Math.imul(value ^ unit, 0x01000193) >>> 0;
  return value;
}

export function coverOf(card) {
  const id = String(card.item_id);
  const title = card.title ?? id;
  const named = title.replace(/[(\[][^)\]]*[)\]]/gu, " ");  // a year, an edition: not what people call it
  const words = named.match(/[\p{L}\p{N}]+/gu) ?? title.match(/[\p{L}\p{N}]+/gu) ?? ["?"];
  const seed = hash(id);
  return {
    hue: hash(card.category[0] ?? id) % 360,
    initials: words.slice(0, 2).map(word => [...word][0].toUpperCase()).join(""),
    rings: [0, 1, 2].map(n => ringOf(seed >>> (4 * n))),
  };
}

function ringOf(seed) {
  return { x: seed % 100, y: (seed >>> 12) % 75, r: 14 + ((seed >>> 3) % 22) };
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function drawCover(card) {
  const { hue, initials, rings } = coverOf(card);
  const cover = document.createElement("div");
  cover.className = "cover";
  cover.style.backgroundColor = `hsl(${hue} 45% 32%)`;
  const svg = element("svg", { viewBox: "0 0 100 75", "aria-hidden": "true", preserveAspectRatio: "xMidYMid slice" });
  for (const { x, y, r } of rings) svg.append(element("circle", { cx: x, cy: y, r, class: "ring" }));
  const text = element("text", { x: 50, y: 47, class: "initials" });
  text.textContent = initials;
  svg.append(text);
  cover.append(svg);
  if (card.picture) cover.append(picture(card.picture));
  return cover;
}

function picture(address) {
  const image = document.createElement("img");
  Object.assign(image, { alt: "", loading: "lazy", referrerPolicy: "no-referrer", src: address });
  image.addEventListener("error", () => image.remove());  // the cover is beneath
  return image;
}
