// The line in the timeline follows the video.
document.addEventListener("timeupdate", (event) => {
  const svg = document.querySelector("#timeline svg[data-seconds]");
  if (!svg || !event.target.closest || !event.target.closest("#result")) return;
  const { left, right, seconds } = Object.fromEntries(Object.entries(svg.dataset).map(([k, v]) => [k, Number(v)]));
  const box = svg.viewBox.baseVal;
  let line = svg.querySelector("line.now");
  if (!line) {
    line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("class", "now");
    svg.appendChild(line);
  }
  const share = Math.min(1, event.target.currentTime / seconds);
  const x = box.x + box.width * (left + (right - left) * share);
  for (const [name, value] of Object.entries({ x1: x, x2: x, y1: box.y, y2: box.y + box.height })) {
    line.setAttribute(name, value);
  }
}, true);
