// Colours of the canvases, from the tokens of the style sheet.

const LANES = {
  user: "user",
  agent: "agent",
  VAD: "vad",
  STT: "stt",
  EOU: "eou",
  "knowledge base": "kb",
  LLM: "llm",
  tools: "tools",
  TTS: "tts",
  realtime: "realtime",
  audio: "sound",
  errors: "error",
  interruptions: "barge-in",
  log: "log",
  response: "unaccounted",
};
const PARTS = {
  "VAD hangover": "vad",
  "STT finalisation": "stt",
  "EOU inference": "eou",
  "EOU wait": "eou",
  "knowledge base": "kb",
  tools: "tools",
  "LLM to first token": "llm",
  "LLM writing a tool call": "llm",
  "failed provider": "error",
  "text aggregation": "llm",
  "TTS to first byte": "tts",
  playout: "playout",
  "realtime model": "realtime",
  unaccounted: "unaccounted",
};
/** Parts and states that are hatched, so that they differ in more than colour from those with the same one. */
const HATCHED = new Set(["EOU wait", "LLM writing a tool call", "failed provider", "text aggregation", "unaccounted"]);
const BASE = ["background", "surface", "text", "muted", "line", "border", "accent", "on-mark", "bad", "selected"];

let tokens = null;

/** Token values by name, read again after `forgetColours`. */
export function colours() {
  if (tokens === null) {
    const style = getComputedStyle(document.documentElement);
    const names = new Set([...BASE, ...Object.values(LANES), ...Object.values(PARTS)]);
    tokens = Object.fromEntries([...names].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    tokens.font = style.getPropertyValue("--font").trim() || "sans-serif";
  }
  return tokens;
}

export function forgetColours() {
  tokens = null;
}

export const laneColour = (lane) => colours()[LANES[lane] ?? "unaccounted"];
export const partColour = (part) => colours()[PARTS[part] ?? "unaccounted"];
export const isHatched = (part) => HATCHED.has(part);

/** A canvas at the screen's resolution; returns its context, cleared, in CSS pixels. */
export function freshContext(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Hatch a rectangle. */
export function hatch(context, x, y, width, height, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let at = x - height; at < x + width; at += 6) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}
