// Sets the equations of a built site: `node docs/scripts/equations.mjs site`.
//
// Arithmatex has marked them in the HTML as \(...\) and \[...\]; KaTeX writes HTML and MathML in their
// place, so that a page needs no script. An equation that KaTeX does not understand ends the build.

import { readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import katex from "katex";

const marked = /<(span|div) class="arithmatex">\\([[(])(.*?)\\[\])]<\/\1>/gs;
const characters = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&" };
const wrong = [];
let set = 0;

function render(page, tag, delimiter, html) {
  const latex = html.replace(/&(?:lt|gt|quot|#39|amp);/g, (entity) => characters[entity]);
  try {
    set += 1;
    return katex.renderToString(latex, { displayMode: delimiter === "[", strict: "error" });
  } catch (error) {
    wrong.push(`${page}: ${latex.trim()}: ${error.message}`);
    return "";
  }
}

const site = process.argv[2];
for (const name of readdirSync(site, { recursive: true }).filter((name) => name.endsWith(".html"))) {
  const path = join(site, name);
  const before = readFileSync(path, "utf8");
  const after = before.replace(marked, (_, tag, delimiter, html) => render(name, tag, delimiter, html));
  if (after.includes('class="arithmatex"')) wrong.push(`${name}: an equation was not found to its end`);
  if (after === before) continue;
  writeFileSync(`${path}.part`, after);
  renameSync(`${path}.part`, path);
}
if (!set) wrong.push(`${site}: no equation is marked; expected a site that Zensical has built`);
if (wrong.length) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
console.log(`${set} equations set`);
