// A small part of Markdown as DOM nodes. Model output is untrusted: it becomes text nodes inside elements chosen here,
// never HTML, and never a link, since a link written by a model can carry the conversation elsewhere.

import { element } from "./dom.js";

const FENCE = /^\s*(```+|~~~+)/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,3})[.)])\s+(.*)$/;
const HEADING = /^#{1,6}\s+(.*)$/;
const CODE = /`([^`\n]+)`/;
const BOLD = /\*\*(?=\S)([\s\S]+?)\*\*/;
const EMPHASIS = /(?<![\w*])\*(?=[^\s*])([^*\n]+)(?<=\S)\*(?![\w*])/; // 2*3*4 is a product
const MARKERS = /\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]/;
const INLINE = new RegExp([CODE, BOLD, EMPHASIS, MARKERS].map(({ source }) => source).join("|"), "g");

/** Draws growing text into `container`: only the blocks that changed are built anew, so a selection above survives. */
export class AnswerText {
  #container;
  #drawn = [];

  constructor(container) {
    this.#container = container;
  }

  /** `marker(number)` returns the node or text for one citation marker. */
  draw(text, marker) {
    const blocks = blocksOf(text);
    blocks.forEach((block, index) => {
      const source = JSON.stringify(block);
      if (this.#drawn[index] === source) return;
      const node = blockNode(block, marker);
      const old = this.#container.children[index];
      if (old) old.replaceWith(node);
      else this.#container.append(node);
      this.#drawn[index] = source;
    });
    while (this.#container.children.length > blocks.length) this.#container.lastElementChild.remove();
    this.#drawn.length = blocks.length;
  }

  /** Forgets what is drawn, for when the markers themselves change. */
  clear() {
    this.#container.replaceChildren();
    this.#drawn = [];
  }
}

/** `[{kind: "paragraph" | "heading" | "list" | "code", …}]` in the order of the text. */
export function blocksOf(text) {
  const blocks = [];
  let open = null;
  let fence = null;
  for (const line of text.replaceAll("\r\n", "\n").split("\n")) {
    if (fence) {
      if (line.trim().startsWith(fence)) fence = open = null;
      else open.lines.push(line);
    } else if (FENCE.test(line)) {
      fence = FENCE.exec(line)[1];
      blocks.push((open = { kind: "code", lines: [] }));
    } else if (line.trim() === "") {
      // A blank line ends a paragraph; between the items of a list it only spaces them.
      open = open?.kind === "list" ? open : null;
    } else {
      open = addLine(blocks, open, line);
    }
  }
  return blocks;
}

function addLine(blocks, open, line) {
  const heading = HEADING.exec(line);
  if (heading) {
    blocks.push({ kind: "heading", lines: [heading[1]] });
    return null;
  }
  const item = ITEM.exec(line);
  if (item) return addItem(blocks, open, item);
  if (open?.kind === "paragraph") {
    open.lines.push(line);
    return open;
  }
  if (open?.kind === "list" && /^\s/.test(line)) {
    open.items.at(-1).text += `\n${line.trim()}`;
    return open;
  }
  const paragraph = { kind: "paragraph", lines: [line] };
  blocks.push(paragraph);
  return paragraph;
}

function addItem(blocks, open, [, indent, number, text]) {
  const nested = indent.length >= 2;
  const ordered = number !== undefined;
  const joins = open?.kind === "list" && (nested || open.ordered === ordered);
  const list = joins ? open : { kind: "list", ordered, start: ordered ? Number(number) : null, items: [] };
  if (!joins) blocks.push(list);
  list.items.push({ text, nested });
  return list;
}

function blockNode(block, marker) {
  switch (block.kind) {
    case "code":
      return element("pre", { tabindex: "0" }, element("code", {}, block.lines.join("\n")));
    case "heading":
      return element("p", { class: "heading" }, ...inline(block.lines[0], marker));
    case "list":
      return listNode(block, marker);
    default:
      return element("p", {}, ...inline(block.lines.join("\n"), marker));
  }
}

function listNode({ ordered, start, items }, marker) {
  const list = element(ordered ? "ol" : "ul", ordered && start !== 1 ? { start: String(start) } : {});
  for (const { text, nested } of items) {
    const lines = inline(text, marker);
    const inner = list.lastElementChild?.querySelector("ul");
    if (!nested || !list.lastElementChild) list.append(element("li", {}, ...lines));
    else if (inner) inner.append(element("li", {}, ...lines));
    else list.lastElementChild.append(element("ul", {}, element("li", {}, ...lines)));
  }
  return list;
}

function inline(text, marker) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, code, bold, emphasis, numbers] = match;
    nodes.push(text.slice(end, match.index));
    if (code !== undefined) nodes.push(element("code", {}, code));
    else if (bold !== undefined) nodes.push(element("strong", {}, ...inline(bold, marker)));
    else if (emphasis !== undefined) nodes.push(element("em", {}, ...inline(emphasis, marker)));
    else nodes.push(...numbers.split(",").map((number) => marker(Number(number))));
    end = match.index + whole.length;
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}
