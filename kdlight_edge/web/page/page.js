// Figures by server-sent events, pictures one after the other, as fast as they are shown and never faster.
"use strict";

const PICTURE_MS = 125;
const byId = (id) => document.getElementById(id);
const panels = [];
let heat = false;
let stream = null;

const TONES = { abstained: "abstained", outlier: "outlier", stale: "stale", error: "error" };
const INKS = { abstained: "wait", outlier: "odd", stale: "late", error: "positive" };
let positive = new Set();
let texts = new Map();

const toneOf = (label, decision) => TONES[decision] || (positive.has(label) ? "positive" : "negative");
const inkOf = (label, decision) => INKS[decision] || (positive.has(label) ? "positive" : "negative");
const percent = (value) => (value === null ? "" : (value * 100).toFixed(value > 0.995 && value < 1 ? 1 : 0) + " %");
const whole = (value) => Math.round(value).toLocaleString("en");

function put(list, rows) {
  // Nodes are kept and their text replaced: a list that is made anew twice a second costs more than it says.
  while (list.children.length > rows.length) list.lastChild.remove();
  rows.forEach(([name, value, ill], i) => {
    if (list.children.length === i) {
      const pair = document.createElement("div");
      pair.append(document.createElement("dt"), document.createElement("dd"));
      list.append(pair);
    }
    const [dt, dd] = list.children[i].children;
    if (dt.textContent !== name) dt.textContent = name;
    if (dd.textContent !== String(value)) dd.textContent = value;
    dd.className = ill ? "ill" : "";
  });
}

function makePanel(number) {
  const node = byId("panel").content.firstElementChild.cloneNode(true);
  byId("panels").append(node);
  const find = (query) => node.querySelector(query);
  const panel = { number, node, find, points: [], last: "", told: null, tone: "" };
  pump(panel);
  return panel;
}

async function pump(panel) {
  const image = panel.find("img");
  let wait = PICTURE_MS;
  for (;;) {
    const began = performance.now();
    try {
      if (!document.hidden) {
        const answer = await fetch(`picture/${panel.number}?heat=${heat ? 1 : 0}&after=${panel.last}`);
        if (answer.status === 200) {
          const shown = heat;
          const address = URL.createObjectURL(await answer.blob());
          const old = image.src;
          image.src = address;
          await image.decode().catch(() => {});
          image.setAttribute("width", image.naturalWidth);
          image.setAttribute("height", image.naturalHeight);
          if (old) URL.revokeObjectURL(old);
          panel.last = shown === heat ? answer.headers.get("X-Frame-Index") : "";
        } else if (answer.status === 401) {
          location.reload();
          return;
        }
      }
      wait = PICTURE_MS;
    } catch {
      wait = Math.min(wait * 2, 8000);
    }
    await new Promise((done) => setTimeout(done, Math.max(20, wait - (performance.now() - began))));
  }
}

function show(data) {
  positive = new Set(data.labels.filter((label) => label.positive).map((label) => label.id));
  texts = new Map(data.labels.map((label) => [label.id, label.text]));
  byId("bundle").textContent = data.bundle.name;
  document.title = `${data.bundle.name} · kdlight-edge`;
  let silent = 0;
  data.panels.forEach((figures, number) => {
    panels[number] ||= makePanel(number);
    silent += showPanel(panels[number], figures, data) ? 1 : 0;
  });
  byId("panels").className = data.panels.length > 1 ? "" : "alone";
  const rate = data.panels.reduce((sum, panel) => sum + panel.fps, 0);
  byId("dot").className = "dot " + (silent ? "ill" : data.panels.length ? "well" : "");
  const words = !data.panels.length ? "waiting for the first picture"
    : silent ? (data.panels.length > 1 ? `${silent} of ${data.panels.length} cameras are silent` : "the camera is silent")
    : `${rate.toFixed(1)} pictures/s`;
  byId("state").textContent = data.throttled ? words + ", the board is throttled" : words;
  showMachine(data);
}

function showPanel(panel, figures, data) {
  const { find } = panel;
  panel.points.push(...figures.points);
  panel.points.splice(0, panel.points.length - 240);
  const silent = data.live && figures.silent !== null && figures.silent > data.stall_timeout;
  panel.node.classList.toggle("silent", silent);
  find(".lost").hidden = !silent;
  if (silent) find(".lost").textContent = `no picture for ${whole(figures.silent)} s`;
  find("figcaption").textContent = figures.name;
  const text = texts.get(figures.label) || figures.label || "no answer yet";
  const tone = "tone-" + toneOf(figures.label, figures.decision);
  if (tone !== panel.tone) {
    panel.node.classList.remove(panel.tone || "none");
    panel.node.classList.add(tone);
    panel.tone = tone;
  }
  find(".text").textContent = text;
  find(".share").textContent = percent(figures.probability);
  find(".bar i").style.width = (figures.probability || 0) * 100 + "%";
  find(".reason").textContent = figures.decision === "accepted" ? "accepted" : `${figures.decision}: ${figures.reason}`;
  const top = find(".top");
  top.replaceChildren(...figures.top.slice(1).map(([label, share]) => {
    const row = document.createElement("li"), value = document.createElement("span");
    value.textContent = percent(share);
    row.append(texts.get(label) || label, value);
    return row;
  }));
  find("img").alt = `live picture of ${figures.name}: ${text}`;
  const canvas = find("canvas");
  canvas.setAttribute("aria-label", `probability over two minutes, now ${text} ${percent(figures.probability)}`);
  draw(canvas, panel.points, data.now, inkOf);
  put(find(".figures"), rowsOf(figures, data));
  showChanges(panel, figures.changes);
  return silent;
}

function rowsOf(figures, data) {
  const stages = Object.entries(figures.milliseconds).map(([name, ms]) => [name + " time", `${ms.toFixed(1)} ms`]);
  const seen = figures.results + figures.dropped;
  const lost = seen ? ` (${(figures.dropped / seen * 100).toFixed(1)} %)` : "";
  const rows = [["Pictures a second", figures.fps.toFixed(1)]];
  if (data.live && figures.age_ms !== null)
    rows.push(["Age, median", `${figures.age_ms} ms`], ["Age, p99", `${figures.age_p99_ms} ms`]);
  rows.push(...stages, ["Results", whole(figures.results)]);
  if (data.live) rows.push(["Dropped for newer", whole(figures.dropped) + lost], ["Lost and back", data.reconnects]);
  for (const [decision, count] of Object.entries(figures.decisions))
    if (decision !== "accepted") rows.push([decision, whole(count), decision === "error"]);
  return rows;
}

function showChanges(panel, changes) {
  const key = changes.length ? changes[0].at + changes[0].label + changes[0].decision + changes[0].event : "";
  if (key === panel.told) return;
  if (panel.told !== null && changes.length) {
    const text = texts.get(changes[0].label) || changes[0].label || "no answer";
    byId("said").textContent = `${text}, ${changes[0].event || changes[0].decision}`;
  }
  panel.told = key;
  panel.find(".changes").replaceChildren(...changes.map((change) => {
    const row = document.createElement("li"), time = document.createElement("time"), label = document.createElement("b");
    const at = new Date(change.at * 1000);
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString("en-GB");
    label.className = "tone-" + toneOf(change.label, change.decision);
    label.textContent = texts.get(change.label) || change.label || change.decision;
    row.append(time, label, change.event || (change.decision === "accepted" ? percent(change.probability) : change.decision));
    row.title = change.reason;
    return row;
  }));
}

function showMachine(data) {
  const hours = (data.now - data.began) / 3600;
  const rows = [
    ["Engine", `${data.engine} ${data.precision}`, Boolean(data.fallback)],
    ["Bundle", `${data.bundle.name} ${data.bundle.version}`],
    ["Digest", data.bundle.digest],
    ["Temperature", data.celsius === null ? "not told" : `${data.celsius.toFixed(0)} °C`],
    ["Throttled", data.throttled === null ? "not told" : data.throttled ? "yes" : "no", data.throttled],
    ["Memory", `${whole(data.rss / 1e6)} MB`],
    ["Running", hours < 1 ? `${whole(hours * 60)} min` : `${hours.toFixed(1)} h`],
    ["Program", `kdlight-edge ${data.version}`],
  ];
  for (const sink of data.sinks) {
    const lost = Object.entries(sink.dropped).filter(([, count]) => count).map(([why, count]) => `${whole(count)} ${why}`);
    const words = [`${whole(sink.delivered)} delivered`, sink.waiting ? `${whole(sink.waiting)} waiting` : "", ...lost];
    rows.push([sink.sink, words.filter(Boolean).join(", "), lost.length > 0]);
  }
  put(byId("machine"), rows);
}

function listen() {
  if (stream || document.hidden) return;
  stream = new EventSource("events");
  stream.onopen = () => panels.forEach((panel) => { panel.points = []; });
  stream.onmessage = (message) => show(JSON.parse(message.data));
  stream.onerror = () => {
    byId("dot").className = "dot ill";
    byId("state").textContent = "the board does not answer";
    if (stream.readyState === EventSource.CLOSED) { stream = null; setTimeout(listen, 2000); }
  };
}

document.addEventListener("visibilitychange", () => {
  // Nobody looks: the board has nothing to do for this page.
  if (document.hidden) { stream?.close(); stream = null; } else listen();
});

byId("heat").addEventListener("click", () => {
  heat = !heat;
  byId("heat").setAttribute("aria-pressed", String(heat));
  panels.forEach((panel) => { panel.last = ""; });
});

listen();
