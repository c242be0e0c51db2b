import { ask, element, joined, lines, say, signed } from "./words.js";

const PAUSE = 150; // milliseconds without a key until the text is translated
const find = (id) => document.getElementById(id);
const text = find("text");
let timer, asked;

text.oninput = () => {
  clearTimeout(timer);
  timer = setTimeout(translate, PAUSE);
};

async function translate() {
  asked?.abort(); // only the answer to what stands there now counts
  const mine = (asked = new AbortController());
  if (!text.value.trim()) return clear();
  const start = performance.now();
  try {
    const found = await ask(text.value, mine.signal);
    if (mine !== asked) return;
    show(found);
    say(`${Math.round(performance.now() - start)} ms${cut(found)}`);
  } catch (error) {
    if (error.name === "AbortError" || mine !== asked) return;
    clear();
    say(error.message, true);
  }
}

function clear() {
  find("translation").textContent = "";
  find("alignment").hidden = find("best").hidden = true;
  say("");
}

function cut({ source_tokens: read, source_length: length }) {
  const count = read.filter(Boolean).length;
  return length > count ? `; the model reads ${count} tokens, the rest of the text was cut` : "";
}

function show(found) {
  find("translation").textContent = found.text;
  find("n-best").replaceChildren();
  found.n_best_text.forEach((each, index) => {
    const row = element(find("n-best"), "li");
    element(row, "span", "", each).dir = "auto";
    element(row, "span", "score", signed(found.n_best_score[index]));
  });
  find("best").hidden = found.n_best_text.length < 2;
  align(found);
}

function align({ tokens, source_tokens, attention }) {
  const sources = joined(source_tokens), targets = joined(tokens);
  const attends = attention[0]?.length === source_tokens.length; // not a model without attention
  find("alignment").hidden = !attends || !targets.length;
  if (find("alignment").hidden) return;
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  // The weights of a word's pieces, which are made one after the other, are averaged.
  const weights = targets.map((target) => sources.map((source) =>
    sum(target.places.flatMap((t) => source.places.map((s) => attention[t][s]))) /
      target.places.length));

  const shade = (buttons, shares) => buttons.forEach((button, index) => {
    const share = shares?.[index] ?? 0, percent = Math.round(100 * share);
    button.style.setProperty("--weight", share);
    button.dataset.share = percent ? `${percent} %` : "";
  });
  const boxes = [[find("source"), texts(sources)], [find("target"), texts(targets)]];
  const [sourceButtons, targetButtons] = lines(boxes, (side, index) => {
    const ofSource = side === 0 && weights.map((row) => row[index]);
    const ofTarget = side === 1 && weights[index];
    shade(targetButtons, ofSource);
    shade(sourceButtons, ofTarget);
    find("told").textContent = ofSource
      ? told(sources[index], targets, ofSource)
      : ofTarget ? told(targets[index], sources, ofTarget) : "";
  });
  find("told").textContent = "";
}

const texts = (words) => words.map((word) => word.text);

// The same in words: what is shaded most.
function told(word, others, shares) {
  const order = [...shares.keys()].filter((index) => shares[index] >= 0.05);
  order.sort((a, b) => shares[b] - shares[a]);
  const list = order.slice(0, 4).map((i) => `${others[i].text} ${Math.round(100 * shares[i])} %`);
  return `${word.text}: ${list.join(", ") || "none by itself"}`;
}

if (text.value) translate(); // what the browser kept when the page was loaded again
