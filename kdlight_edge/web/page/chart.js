// Probability over the last two minutes, a stroke for each half second in the colour of its answer.
"use strict";

const SPAN = 120;

function draw(canvas, points, now, tone) {
  const style = getComputedStyle(canvas);
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const left = 44, bottom = height - 18, top = 6;
  const x = (t) => width - 2 - ((now - t) / SPAN) * (width - left - 2);
  const y = (p) => bottom - p * (bottom - top);
  pen.font = "11px " + style.fontFamily;
  pen.lineWidth = 1;
  for (const share of [0, 0.5, 1]) {
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.beginPath();
    pen.moveTo(left, Math.round(y(share)) + 0.5);
    pen.lineTo(width, Math.round(y(share)) + 0.5);
    pen.stroke();
    pen.fillStyle = style.getPropertyValue("--grey");
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillText(share * 100 + " %", left - 5, y(share));
  }
  pen.textBaseline = "bottom";
  for (const [ago, words, align] of [[120, "2 min ago", "left"], [60, "1 min", "center"], [0, "now", "right"]]) {
    pen.textAlign = align;
    pen.fillText(words, x(now - ago), height);
  }
  let before = null;
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  for (const [, t, probability, label, decision] of points) {
    if (now - t > SPAN) continue;
    const here = probability === null ? null : [x(t), y(probability), t];
    pen.strokeStyle = pen.fillStyle = style.getPropertyValue("--" + tone(label, decision)) || style.color;
    if (here && before && t - before[2] < 2) {
      pen.beginPath();
      pen.moveTo(before[0], before[1]);
      pen.lineTo(here[0], here[1]);
      pen.stroke();
    } else if (here) {
      pen.fillRect(here[0] - 1, here[1] - 1, 2, 2);
    } else {
      pen.fillRect(x(t) - 1, bottom - 4, 2, 4);
    }
    before = here;
  }
}
