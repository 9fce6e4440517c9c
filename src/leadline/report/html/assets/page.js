// Charts are Vega-Lite's. What is left: to draw them, to play a wavefront, to sort a table and to copy one.
for (const figure of document.querySelectorAll("figure.chart")) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const options = { mode: "vega-lite", renderer: "svg", actions: false, tooltip: { theme: "leadline" } };
  vegaEmbed(figure.querySelector(".canvas"), spec, options).then(({ view }) => {
    const button = figure.querySelector(".play");
    if (button) button.addEventListener("click", () => play(view, button));
  });
}

function play(view, button) {
  const stop = () => {
    clearInterval(button.timer);
    button.timer = null;
    button.textContent = "▶ play";
  };
  if (button.timer) return stop();
  const last = Number(button.dataset.last);
  let front = view.signal("front") >= last ? 0 : view.signal("front");
  button.textContent = "❚❚ pause";
  button.timer = setInterval(() => {
    view.signal("front", front).runAsync();
    front += 1;
    if (front > last) stop();
  }, Math.max(40, Math.min(400, 6000 / (last + 1))));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending";
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key;
    const compare = (a, b) => (key(a) !== undefined && key(b) !== undefined
      ? key(a) - key(b)
      : a.cells[column].textContent.localeCompare(b.cells[column].textContent, undefined, { numeric: true }));
    const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? compare(a, b) : compare(b, a)));
    table.tBodies[0].append(...rows);
  }));
}

for (const copies of document.querySelectorAll(".copies")) {
  const texts = JSON.parse(copies.querySelector("script").textContent);
  for (const button of copies.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(texts[button.dataset.form]);
      copies.querySelector(".copied").textContent = `${button.dataset.form} copied`;
    });
  }
}
