// Asking the server, and words that can be pointed at.

export function element(parent, tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return parent.appendChild(made);
}

// What the model says to one input, or an Error with the line that the server gives.
export async function ask(input, signal) {
  const name = document.querySelector("meta[name=model]").content;
  let response;
  try {
    response = await fetch(`/v1/models/${name}:predict`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ instances: [input] }),
      signal,
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("the server does not answer");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer.predictions[0];
}

export function say(line, isWrong = false) {
  const status = document.getElementById("status");
  status.textContent = line;
  status.classList.toggle("wrong", isWrong);
}

const SPACE = "\u2581"; // with it a piece begins a word
const BYTE = /^<0x([0-9A-F]{2})>$/;
// Scripts without spaces: each piece is a word.
const UNSPACED = /^[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Mymr}]/u;

// Pieces of words, "" where there is none, as words: [{ text, places }]. `places` are of its pieces.
export function joined(pieces) {
  const words = [];
  pieces.forEach((piece, place) => {
    if (!piece) return;
    const last = words[words.length - 1];
    const begins = !last || piece.startsWith(SPACE) || UNSPACED.test(piece);
    if (begins) words.push({ pieces: [piece], places: [place] });
    else {
      last.pieces.push(piece);
      last.places.push(place);
    }
  });
  return words.map(({ pieces, places }) => ({ text: spelled(pieces), places }));
}

// The text of pieces, of which some are single bytes of UTF-8.
function spelled(pieces) {
  const encoder = new TextEncoder();
  const bytes = pieces.flatMap((piece) => {
    const byte = BYTE.exec(piece);
    return byte ? [parseInt(byte[1], 16)] : [...encoder.encode(piece)];
  });
  return new TextDecoder().decode(new Uint8Array(bytes)).replaceAll(SPACE, " ").trim();
}

// A score, with the minus sign of print.
export function signed(score) {
  return score.toFixed(2).replace("-", "\u2212");
}

// Lines of words, [[box, texts], ...], as lists of buttons. Calls show(line, index) for the word that
// is pointed at, or else has the focus, and show(-1, -1) if there is none.
export function lines(boxes, show) {
  const buttons = boxes.map(([box, texts]) => {
    box.replaceChildren();
    return texts.map((text) => element(box, "button", "", text));
  });
  let hovered = null;
  const update = () => {
    const chosen = hovered ?? document.activeElement;
    buttons.flat().forEach((button) => button.classList.toggle("chosen", button === chosen));
    const line = buttons.findIndex((each) => each.includes(chosen));
    show(line, line < 0 ? -1 : buttons[line].indexOf(chosen));
  };
  for (const [box] of boxes) {
    box.onpointerover = box.onpointerleave = (event) => {
      hovered = event.type === "pointerover" ? event.target.closest("button") : null;
      update();
    };
  }
  for (const button of buttons.flat()) {
    button.onfocus = update;
    button.onblur = () => setTimeout(update); // by then the next one has the focus
    button.onclick = () => button.focus(); // Safari does not by itself
  }
  return buttons;
}
