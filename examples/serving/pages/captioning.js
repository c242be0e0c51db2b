import { ask, joined, lines, say, signed } from "./words.js";

const DARK = 0.78; // how dark what is not attended to becomes
const find = (id) => document.getElementById(id);
const drop = find("drop"), file = find("file"), map = find("map"), picture = find("picture");
let asked;

file.onchange = () => file.files.length && caption(file.files[0]);
drop.ondragover = (event) => {
  event.preventDefault();
  drop.classList.add("over");
};
drop.ondragleave = () => drop.classList.remove("over");
drop.ondrop = (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) caption(event.dataTransfer.files[0]);
};
document.onpaste = (event) => {
  if (event.clipboardData.files.length) caption(event.clipboardData.files[0]);
};

async function caption(chosen) {
  asked?.abort();
  const mine = (asked = new AbortController());
  find("result").hidden = true;
  say("looking at it");
  const start = performance.now();
  try {
    const found = await ask({ b64: await base64(chosen) }, mine.signal);
    if (mine !== asked) return;
    URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(chosen);
    show(found);
    say(`${chosen.name}: ${Math.round(performance.now() - start)} ms`);
  } catch (error) {
    if (error.name !== "AbortError" && mine === asked) say(error.message, true);
  }
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("the file cannot be read"));
    reader.readAsDataURL(blob);
  });
}

function show({ text, words: pieces, score, attention }) {
  picture.alt = find("caption").textContent = text || "The model has no words for it.";
  find("score").textContent = signed(score);
  find("result").hidden = false;
  const words = joined(pieces.some((piece) => piece.includes("\u2581")) ? pieces : spaced(pieces));
  map.height = attention[0].length;
  map.width = attention[0][0].length;
  const maps = words.map(({ places }) => mean(places.map((place) => attention[place].flat())));
  const looked = map.width * map.height > 1; // not a model without attention
  const texts = words.map((word) => word.text);
  lines([[find("words"), texts]], (_, index) => draw(looked ? maps[index] : null));
  draw(null);
}

// Whole words, which do not begin with a mark, each as a piece that does.
function spaced(words) {
  return words.map((word) => word && `\u2581${word}`);
}

function mean(maps) {
  return maps[0].map((_, i) => maps.reduce((sum, each) => sum + each[i], 0) / maps.length);
}

// Darkens what has less weight than the most; the browser makes the few pixels smooth.
function draw(weights) {
  const context = map.getContext("2d");
  context.clearRect(0, 0, map.width, map.height);
  if (!weights) return;
  const most = Math.max(...weights);
  const pixels = context.createImageData(map.width, map.height);
  weights.forEach((weight, i) => {
    pixels.data[4 * i + 3] = most > 0 ? 255 * DARK * (1 - weight / most) : 0;
  });
  context.putImageData(pixels, 0, 0);
}
