// What the reader does, and what follows.

let view = readAddress();
let list = [];

function draw() {
  list = found(view);
  drawSheet(view, list);
  writeAddress(view);
}

function fillFilters() {
  byId("text").value = view.q;
  for (const radio of document.getElementsByName("state")) radio.checked = radio.value === view.state;
  for (const name of ["type", "order"]) if (byId(name)) byId(name).value = view[name];
}

function change(changes) {
  Object.assign(view, { page: 1, job: "" }, changes);
  draw();
}

function openJob(job) {
  view.job = job.id;
  writeAddress(view);
  showJob(job, list);
}

function step(by) {
  const place = list.findIndex((job) => job.id === view.job) + by;
  if (place < 0 || place >= list.length) return;
  const page = Math.floor(place / PAGE) + 1;
  if (page !== view.page) {
    view.page = page;
    drawSheet(view, list);
  }
  openJob(list[place]);
}

function toPage(page) {
  view.page = page;
  draw();
  byId("filters").scrollIntoView();
  byId("sheet").focus({ preventScroll: true });
}

function readCharts() {
  document.querySelectorAll("figure.chart").forEach((figure) => {
    const lines = data.charts[Number(figure.dataset.chart)];
    const picture = figure.querySelector("svg");
    const cursor = figure.querySelector(".cursor");
    const value = figure.querySelector(".chart-value");
    const [left, right] = ["x1", "x2"].map((name) => Number(figure.querySelector(".grid").getAttribute(name)));
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * picture.viewBox.baseVal.width;
      const count = data.times.length;
      const place = Math.min(count - 1, Math.max(0, Math.floor(((x - left) / (right - left)) * count)));
      const at = left + ((place + 0.5) / count) * (right - left);
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, at);
      cursor.setAttribute("visibility", "visible");
      const texts = lines.map(([name, values]) => (lines.length > 1 ? `${name} ${values[place]}` : values[place]));
      value.textContent = `${texts.join(", ")} at ${data.times[place]}`;
    });
    picture.addEventListener("pointerleave", () => {
      cursor.setAttribute("visibility", "hidden");
      value.textContent = value.dataset.headline;
    });
  });
}

function listen() {
  let timer = 0;
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("text").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => change({ q: event.target.value.trim() }), 120);
  });
  for (const radio of document.getElementsByName("state")) {
    radio.addEventListener("change", () => change({ state: radio.value }));
  }
  for (const name of ["type", "order"]) {
    if (byId(name)) byId(name).addEventListener("change", (event) => change({ [name]: event.target.value }));
  }
  byId("clear").addEventListener("click", () => { view = { ...PLAIN }; fillFilters(); draw(); });
  byId("pager").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-page]");
    if (button) toPage(Number(button.dataset.page));
  });
  document.querySelectorAll("button.reason").forEach((button) => {
    button.addEventListener("click", () => {
      change({ state: "failed", q: button.dataset.reason, type: "" });
      fillFilters();
      byId("filters").scrollIntoView();
    });
  });
}

function listenToJobs() {
  byId("sheet").addEventListener("click", (event) => {
    const opener = event.target.closest(".open");
    if (!opener || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openJob(jobs[Number(opener.dataset.place)]);
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => {
    byId("viewer-files").replaceChildren();
    const place = list.findIndex((job) => job.id === view.job);
    view.job = "";
    writeAddress(view);
    const opener = place >= 0 && byId("sheet").querySelector(`.open[data-place="${list[place].place}"]`);
    if (opener) opener.focus();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.target.closest("video, audio")) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
}

function follow() {
  view = readAddress();
  fillFilters();
  list = found(view);
  drawSheet(view, list);
  const job = view.job && jobs.find((one) => one.id === view.job);
  if (job) showJob(job, list);
}

listen();
listenToJobs();
readCharts();
window.addEventListener("hashchange", follow);
follow();
